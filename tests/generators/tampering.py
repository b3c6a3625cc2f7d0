"""Ways to alter a copy of a log, of its checkpoints, or of its archive; each says which message it altered first."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from callboard.bus.archive import disk, manifest, segment
from callboard.bus.log import Record
from callboard.events.checkpoint import decode_checkpoint
from callboard.events.envelope import decode, encode, message_hash
from generators.audit_stories import KEY
from generators.log_histories import log_of, signed

THIEF = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
EVERY = 50


class Copy(NamedTuple):
    """What is altered, and from which message on."""

    records: list[Record]
    checkpoints: list[tuple[int, bytes]]
    place: int


RECORDS = list(log_of(330, open_tasks=12))
CHECKPOINTS = signed(iter(RECORDS), KEY, EVERY)

Alteration = Callable[[Random], Copy]


def flipped(random: Random, data: bytes) -> bytes:
    """The bytes with one bit of one of them changed."""
    place = random.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << random.randrange(8)]) + data[place + 1 :]


def renumbered(records: list[Record]) -> list[Record]:
    """The records as if nothing had ever been taken out or put in."""
    return [record._replace(seq=number) for number, record in enumerate(records, 1)]


def rechained(records: list[Record], start: int) -> list[Record]:
    """The records with the chains of all entities mended from the place ``start`` on."""
    hashes: dict[str, str] = {}
    versions: dict[str, int] = {}
    made = list(records)
    for number, record in enumerate(records):
        entity = ".".join(record.subject.split(".")[2:4])
        if number >= start:
            first = versions.get(entity, 0) + 1
            envelopes = [
                msgspec.structs.replace(each, version=version, prevhash=hashes.get(entity, ""))
                for version, each in enumerate(decode(record.data), first)
            ]
            record = made[number] = record._replace(data=encode(envelopes))  # noqa: PLW2901
        versions[entity] = decode(record.data)[-1].version
        hashes[entity] = message_hash(record.data)
    return made


def byte_of_data(random: Random) -> Copy:
    return _one(random, lambda record: record._replace(data=flipped(random, record.data)))


def letter_of_subject(random: Random) -> Copy:
    def change(record: Record) -> Record:
        place, letter = random.randrange(len(record.subject)), random.choice("abcxyz019._-")
        if record.subject[place] == letter:
            letter = "q"
        return record._replace(subject=record.subject[:place] + letter + record.subject[place + 1 :])

    return _one(random, change)


def time_of_storing(random: Random) -> Copy:
    by = random.choice((-1, 1)) * random.randrange(1, 10 ** random.randrange(1, 12))
    return _one(random, lambda record: record._replace(time_ns=record.time_ns + by))


def deleted(random: Random) -> Copy:
    at = random.randrange(len(RECORDS))
    left = RECORDS[:at] + RECORDS[at + random.randrange(1, 4) :]
    if not left or at >= len(left):
        return truncated(random)
    return Copy(renumbered(left) if random.random() < 0.5 else left, CHECKPOINTS, at + 1)


def inserted(random: Random) -> Copy:
    at = random.randrange(len(RECORDS) + 1)
    other = random.choice(RECORDS)
    forged = other._replace(seq=at + 1, data=flipped(random, other.data))
    return Copy(_put(random, at, forged), CHECKPOINTS, at + 1)


def duplicated(random: Random) -> Copy:
    at = random.randrange(1, len(RECORDS) + 1)
    return Copy(_put(random, at, random.choice(RECORDS[:at])), CHECKPOINTS, at + 1)


def swapped(random: Random) -> Copy:
    first, second = sorted(random.sample(range(len(RECORDS)), 2))
    records = list(RECORDS)
    records[first], records[second] = records[second], records[first]
    return Copy(renumbered(records) if random.random() < 0.5 else records, CHECKPOINTS, first + 1)


def truncated(random: Random) -> Copy:
    """The end of the log is cut off, with or without the checkpoints that would tell."""
    at = random.randrange(len(RECORDS))
    kept = [each for each in CHECKPOINTS if decode_checkpoint(each[1]).size <= at]
    return Copy(RECORDS[:at], kept if random.random() < 0.5 else CHECKPOINTS, at + 1)


def forged(random: Random) -> Copy:
    """An event says something else, and the chains of all entities are mended."""
    at, records = _forgery(random)
    return Copy(rechained(records, at), CHECKPOINTS, at + 1)


def forged_and_signed(random: Random) -> Copy:
    """The same, and everything is signed anew by somebody else."""
    at, records = _forgery(random)
    records = rechained(records, at)
    anew = signed(iter(records), THIEF, EVERY)
    kept = at // EVERY if random.random() < 0.5 else 0
    return Copy(records, CHECKPOINTS[:kept] + anew[kept:], at + 1)


def forged_by_who_has_the_key(random: Random) -> Copy:
    """The same, with the right key: only a head that was kept elsewhere tells."""
    at, records = _forgery(random)
    records = rechained(records, at)
    return Copy(records, signed(iter(records), KEY, EVERY), at + 1)


def checkpoint_altered(random: Random) -> Copy:
    number = random.randrange(len(CHECKPOINTS))
    seq, data = CHECKPOINTS[number]
    changed = [*CHECKPOINTS[:number], (seq, flipped(random, data)), *CHECKPOINTS[number + 1 :]]
    return Copy(RECORDS, changed, decode_checkpoint(data).size)


def checkpoint_removed(random: Random) -> Copy:
    number = random.randrange(len(CHECKPOINTS))
    left = CHECKPOINTS[:number] + CHECKPOINTS[number + random.randrange(1, 3) :]
    if random.random() < 0.5:
        left = [(seq, data) for seq, (_, data) in enumerate(left, 1)]
    return Copy(RECORDS, left, decode_checkpoint(CHECKPOINTS[number][1]).size)


def checkpoint_signed_by_another(random: Random) -> Copy:
    number = random.randrange(len(CHECKPOINTS))
    anew = signed(iter(RECORDS), THIEF, EVERY)
    later = anew[number + 1 :] if random.random() < 0.5 else CHECKPOINTS[number + 1 :]
    return Copy(RECORDS, [*CHECKPOINTS[:number], anew[number], *later], decode_checkpoint(anew[number][1]).size)


def checkpoints_swapped(random: Random) -> Copy:
    first, second = sorted(random.sample(range(len(CHECKPOINTS)), 2))
    changed = list(CHECKPOINTS)
    changed[first], changed[second] = (
        (CHECKPOINTS[first][0], CHECKPOINTS[second][1]),
        (CHECKPOINTS[second][0], CHECKPOINTS[first][1]),
    )
    return Copy(RECORDS, changed, decode_checkpoint(CHECKPOINTS[first][1]).size)


OF_RECORDS: tuple[Alteration, ...] = (
    byte_of_data,
    letter_of_subject,
    time_of_storing,
    deleted,
    inserted,
    duplicated,
    swapped,
    truncated,
    forged,
    forged_and_signed,
    forged_by_who_has_the_key,
    checkpoint_altered,
    checkpoint_removed,
    checkpoint_signed_by_another,
    checkpoints_swapped,
)

ARCHIVED = 300
SEGMENTS = ((0, 100), (100, 200), (200, ARCHIVED))


def make_archive(folder: Path) -> None:
    """The archive that is altered: all but the newest messages."""
    folder.mkdir(exist_ok=True)
    for first, last in SEGMENTS:
        segment.write(folder, first + 1, [RECORDS[first:last]])


def alter_archive(random: Random, folder: Path) -> tuple[str, int]:
    """Alter a copy of the archive; what was done, and the first message of the file, or the one that was altered."""
    first, last = random.choice(SEGMENTS)
    place = first + 1
    stem = folder / manifest.stem_of(first + 1, last)
    data, noted = stem.with_suffix(".parquet"), stem.with_suffix(".json")
    what = random.choice(
        ("byte", "manifest byte", "number", "cut", "gone", "unlisted", "swapped", "rewritten", "column")
    )
    match what:
        case "byte":
            data.write_bytes(flipped(random, data.read_bytes()))
        case "manifest byte":
            noted.write_bytes(flipped(random, noted.read_bytes()))
        case "number":
            stated = json.loads(noted.read_bytes())
            key = random.choice([*stated])
            stated[key] = stated[key] + random.choice((-1, 1)) if key != "sha256" else stated[key][::-1]
            noted.write_bytes(json.dumps(stated, separators=(",", ":")).encode())
        case "cut":
            data.write_bytes(data.read_bytes()[: random.randrange(data.stat().st_size)])
        case "gone":
            data.unlink()
        case "unlisted":
            noted.unlink()
        case "swapped":
            other = random.choice([each for each in folder.glob("*.parquet") if each != data])
            place = min(place, int(other.stem.split("-")[1]))
            kept = data.read_bytes()
            shutil.copyfile(other, data)
            other.write_bytes(kept)
        case "rewritten":
            at = random.randrange(first, last)
            records = list(RECORDS[first:last])
            change = json.loads(records[at - first].data)
            part = change[0] if isinstance(change, list) else change
            part["source"] += "!"
            records[at - first] = records[at - first]._replace(data=msgspec.json.encode(change))
            for path in (data, noted):
                path.unlink()
            segment.write(folder, first + 1, [records])
            place = at + 1
        case "column":
            _alter_column(random, data, noted)
    return what, place


def _alter_column(random: Random, data: Path, noted: Path) -> None:
    """A column says something else than the event's own bytes, and the manifest fits the file."""
    import pyarrow as pa
    from pyarrow import parquet

    table = parquet.read_table(data)
    name = random.choice(("type", "kind", "entity", "event", "id", "source", "correlationid", "prevhash"))
    values: list[Any] = table.column(name).to_pylist()
    values[random.randrange(len(values))] = "other"
    place = table.schema.get_field_index(name)
    table = table.set_column(place, table.schema.field(place), pa.array(values, pa.string()))
    parquet.write_table(table, data, compression="zstd", write_page_checksum=True)
    stated = json.loads(noted.read_bytes()) | {"bytes": data.stat().st_size, "sha256": disk.hash_file(data)}
    noted.write_bytes(json.dumps(stated, separators=(",", ":")).encode())


def _one(random: Random, change: Callable[[Record], Record]) -> Copy:
    at = random.randrange(len(RECORDS))
    return Copy([*RECORDS[:at], change(RECORDS[at]), *RECORDS[at + 1 :]], CHECKPOINTS, at + 1)


def _put(random: Random, at: int, record: Record) -> list[Record]:
    records = [*RECORDS[:at], record, *RECORDS[at:]]
    return renumbered(records) if random.random() < 0.7 or at == len(RECORDS) else records


def _forgery(random: Random) -> tuple[int, list[Record]]:
    at = random.randrange(len(RECORDS))
    records = list(RECORDS)
    envelopes = decode(records[at].data)
    envelopes[0] = msgspec.structs.replace(envelopes[0], source="somebody#1")
    records[at] = records[at]._replace(data=encode(envelopes))
    return at, records
