"""A small sample of the fuzz of tampering; ten thousand of them: `pytest tests/chaos/test_tampering.py -m chaos`."""

from random import Random

import pytest
from generators.tampering import OF_RECORDS, RECORDS, make_archive
from generators.tampering_trials import KEPT, audited_with, try_archive, try_records

from callboard.projections.audit import Severity


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    make_archive(folder)
    return folder


def test_what_was_not_altered_is_clean(archive):
    """Else the rest would mean nothing."""
    report = audited_with(archive, KEPT)
    assert [each for each in report.findings if each.severity is not Severity.NOTE] == []
    assert report.checked.covered == len(RECORDS)


@pytest.mark.parametrize("seed", range(2))
def test_no_alteration_of_the_log_goes_unseen(seed):
    """Whatever is changed, taken out, put in, forged or signed anew."""
    random = Random(f"records {seed}")
    missed = [told for _ in range(120) if (told := try_records(random))]
    assert missed == []
    assert len(OF_RECORDS) > 10


def test_no_alteration_of_the_archive_goes_unseen(archive, tmp_path):
    """Files, manifests, and what stands in them."""
    random = Random("archive")
    missed = [told for _ in range(60) if (told := try_archive(random, archive, tmp_path / "copy"))]
    assert missed == []
