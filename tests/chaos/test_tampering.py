"""Ten thousand alterations of a log, its checkpoints and its archive: none goes unseen.

Run with: pytest tests/chaos/test_tampering.py -m chaos
"""

from random import Random

import pytest
from generators.tampering import make_archive
from generators.tampering_trials import try_archive, try_records

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200)]

ROUNDS = 20
OF_RECORDS = 400
OF_ARCHIVES = 100


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_no_alteration_goes_unseen(seed, tmp_path):
    """20 times 400 of the records and checkpoints, and 100 of the archive's files."""
    make_archive(tmp_path / "archive")
    random = Random(seed)
    missed = [told for _ in range(OF_RECORDS) if (told := try_records(random))]
    folder, copy = tmp_path / "archive", tmp_path / "copy"
    missed += [told for _ in range(OF_ARCHIVES) if (told := try_archive(random, folder, copy))]
    assert missed == []
