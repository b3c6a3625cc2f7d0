"""The auditor: reads archive and stream side by side, and changes nothing."""

from functools import partial

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from generators.audit_stories import KEY, OPTIONS
from generators.log_histories import log_of, signed

from callboard.actors.auditor import Until, audit, prove
from callboard.bus.archive import segment
from callboard.bus.archive.examined import examined
from callboard.bus.memory import MemoryBus
from callboard.events.away import Away
from callboard.events.checkpoint import decode_checkpoint
from callboard.events.errors import InvalidInput
from callboard.events.merkle import leaf_hash, root_by_inclusion
from callboard.projections.audit import Head

RECORDS = list(log_of(900, open_tasks=20))
CHECKPOINTS = signed(iter(RECORDS), KEY, 100)
CUTS = (0, 300, 600)


class StoredBus(MemoryBus):
    """A bus whose stream holds these records, with their sequences and times."""

    def __init__(self, records) -> None:
        super().__init__()
        self.log = self
        self.records = list(records)

    split = 0

    async def away(self):
        return Away()

    async def read_all(self, *_subjects, after=0):
        for start in range(0, len(self.records), 97):
            yield [each for each in self.records[start : start + 97] if each.seq > after]


async def bus_of(records, checkpoints=CHECKPOINTS) -> StoredBus:
    bus = StoredBus(records)
    for seq, data in checkpoints:
        await bus.checkpoints.append(decode_checkpoint(data).size, data, seq - 1)
    return bus


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An archive of all but the newest messages."""
    folder = tmp_path_factory.mktemp("archive")
    for first, last in zip(CUTS, (300, 600, 850), strict=True):
        segment.write(folder, first + 1, [RECORDS[first:last]])
    return folder


def bad(report) -> dict[str, int]:
    return {kind: number for kind, number in report.counts.items() if kind not in {"by-hand", "uncovered"}}


@pytest.mark.parametrize("kept", [range(1, 10**6), range(851, 10**6), range(500, 10**6), range(2, 10**6, 3)])
async def test_archive_and_stream_are_one_log(folder, kept):
    """Whatever the stream still holds of what is archived; what is in neither is missing."""
    hot = [each for each in RECORDS if each.seq in kept or each.seq > 850]
    report = await audit(await bus_of(hot), OPTIONS, archive=partial(examined, folder))
    assert (report.result, bad(report)) == ("clean", {})
    assert report.checked.messages == report.checked.covered == len(RECORDS)
    assert report.checked.archived == 850
    assert report.checked.both == sum(each.seq <= 850 for each in hot)


async def test_missing_in_both(folder):
    """What was purged has to be in the archive."""
    hot = [each for each in RECORDS if each.seq > 860]
    report = await audit(await bus_of(hot), OPTIONS, archive=partial(examined, folder))
    assert [each.seq for each in report.findings if each.kind == "missing"] == [851]


async def test_copies(folder):
    """What is in both has to be the same; the signatures tell which one was altered."""
    hot = [each._replace(data=each.data + b" ") if each.seq == 450 else each for each in RECORDS]
    report = await audit(await bus_of(hot), OPTIONS, archive=partial(examined, folder))
    assert bad(report) == {"copies": 1}
    assert report.findings[-1].seq == 450 or report.findings[0].seq == 450


async def test_archive(folder, tmp_path):
    """A damaged segment is named, and hides no other; the stream stands in for it as long as it can."""
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    path = next(tmp_path.glob("events-*301-*.parquet"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    report = await audit(await bus_of(RECORDS), OPTIONS, archive=partial(examined, tmp_path))
    assert bad(report) == {"archive": 1}
    assert report.findings[-1].seq == 301 or report.findings[0].seq == 301
    report = await audit(await bus_of(RECORDS[850:]), OPTIONS, archive=partial(examined, tmp_path))
    assert {"archive", "missing"} <= bad(report).keys()


async def test_it_ends_where_it_is_told_to():
    """What comes after is not looked at, and not missed."""
    bus = await bus_of(RECORDS)
    report = await audit(bus, OPTIONS, until=Until(seq=500))
    assert (report.result, report.checked.last, report.checked.covered) == ("clean", 500, 500)
    report = await audit(bus, OPTIONS, until=Until(time_ns=RECORDS[499].time_ns))
    assert (report.result, report.checked.last) == ("clean", 500)


async def test_a_message_can_be_proved_to_be_in_the_log(folder):
    """With a few hashes, and nothing else of the log."""
    signed_head = decode_checkpoint(CHECKPOINTS[-1][1])
    bus = await bus_of(RECORDS[850:])
    proof = await prove(bus, 123, Head(signed_head.size, signed_head.root), archive=partial(examined, folder))
    record = RECORDS[122]
    leaf = leaf_hash(record.seq, record.time_ns, record.subject, record.data)
    root = root_by_inclusion(leaf, 122, proof.size, [bytes.fromhex(each) for each in proof.proof])
    assert root.hex() == signed_head.root == proof.root
    assert len(proof.proof) < 12
    with pytest.raises(InvalidInput, match="no message"):
        await prove(bus, 10**6, Head(signed_head.size, signed_head.root))
    with pytest.raises(InvalidInput, match="not what was signed"):
        await prove(bus, 123, Head(signed_head.size, signed_head.root))


def test_the_key_is_an_ordinary_one():
    """Anybody's Ed25519 verifies a checkpoint: the signature is over its JSON with an empty signature."""
    checkpoint = CHECKPOINTS[0][1]
    decoded = decode_checkpoint(checkpoint)
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(decoded.key))
    public.verify(bytes.fromhex(decoded.signature), checkpoint.replace(decoded.signature.encode(), b""))
