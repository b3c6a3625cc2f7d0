"""Golden logs: whole logs as real nodes wrote them, and what today's code must make of them.

Each is a file of JSON lines, `{"seq", "subject", "stored_ns", "data"}`, gzipped. `expected.json` has for each the hash
of every projection's state, by the projection's version, and of all entities of each kind.
"""

import gzip
import json
from collections.abc import Iterator, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from callboard.actors.moments import GROUPS
from callboard.bus.aggregates import AGGREGATES, Loaded, after, unborn
from callboard.bus.log import Record
from callboard.bus.subjects import parse
from callboard.events import agent_snapshot
from callboard.events.envelope import decode, encode, message_hash
from callboard.events.persistent import encode_map
from callboard.projections.measures import MEASURES
from callboard.projections.projection import fold

LOGS = Path(__file__).parent / "logs"
EXPECTED = Path(__file__).parent / "expected.json"
OLDER = "older"
"""The log of the tasks, as older code would have written it."""

PROJECTIONS = (*(each for group in GROUPS for each in group.projections), MEASURES)


def names() -> list[str]:
    """All golden logs."""
    return sorted(path.name.removesuffix(".jsonl.gz") for path in LOGS.glob("*.jsonl.gz"))


@cache
def read(name: str) -> tuple[Record, ...]:
    """The messages of one."""
    with gzip.open(LOGS / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return tuple(
            Record(line["seq"], line["subject"], line["data"].encode(), line["stored_ns"])
            for line in map(json.loads, lines)
        )


def write(name: str, records: Sequence[Record]) -> None:
    """Keep a log; the same one gives the same bytes."""
    lines = [
        json.dumps({"seq": seq, "subject": subject, "stored_ns": time_ns, "data": data.decode()})
        for seq, subject, data, time_ns, _ in records
    ]
    (LOGS / f"{name}.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode(), 9, mtime=0))


def wire_types(records: Sequence[Record]) -> set[str]:
    """The types of all events as they are stored, before they are lifted."""
    every = (json.loads(record.data) for record in records)
    return {event["type"] for each in every for event in (each if isinstance(each, list) else [each])}


def hash_of(state: Any) -> str:
    return sha256(msgspec.json.encode(state, enc_hook=encode_map, order="deterministic")).hexdigest()


def projected(records: Sequence[Record]) -> dict[str, dict[str, Any]]:
    """For each projection its version, and the hash of what today's code makes of the log."""
    envelopes = [envelope for record in records for envelope in decode(record.data)]
    return {
        each.name: {"version": each.version, "hash": hash_of(fold(each, each.initial(), envelopes))}
        for each in PROJECTIONS
    }


def entities(records: Sequence[Record]) -> dict[str, dict[str, Loaded[Any]]]:
    """All entities by kind and id; folding checks each one's versions and hash chain."""
    found: dict[str, dict[str, Loaded[Any]]] = {}
    for record in records:
        kind, entity_id = parse(record.subject)[1:3]
        of_kind = found.setdefault(kind, {})
        before = of_kind.get(entity_id) or unborn(AGGREGATES[kind], entity_id)
        of_kind[entity_id] = after(AGGREGATES[kind], before, record.seq, record.data, decode(record.data))
    return found


def entity_hashes(records: Sequence[Record]) -> dict[str, dict[str, Any]]:
    """For each kind the version of its fold, if that has one, and the hash of all its entities' states."""
    versions = {"agent": agent_snapshot.VERSION}
    return {
        kind: {"version": versions.get(kind, 1), "hash": hash_of({name: each.state for name, each in of_kind.items()})}
        for kind, of_kind in sorted(entities(records).items())
    }


def computed(name: str) -> dict[str, Any]:
    """What `expected.json` says of a log, as today's code has it."""
    records = read(name)
    return {
        "messages": len(records),
        "projections": projected(records),
        "entities": entity_hashes(records),
    }


def expected() -> dict[str, Any]:
    """What is expected of each log."""
    return json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {}


def objections(name: str, found: dict[str, Any], known: dict[str, Any]) -> list[str]:
    """What is not as expected of a log, each with what to do."""
    wrong = []
    for part in ("projections", "entities"):
        for each in sorted({*found[part], *known.get(part, {})}):
            now, then = found[part].get(each), known.get(part, {}).get(each)
            if now == then:
                continue
            if now and then and now["version"] == then["version"]:
                wrong.append(
                    f"{name}: {each}, of version {now['version']} still, is not what it was: mend its fold; or, if "
                    "that is meant, raise its version, so that no older snapshot is believed, and accept it"
                )
            else:
                wrong.append(f"{name}: {each} was {_version(then)} and is {_version(now)}: accept it")
    if found["messages"] != known.get("messages"):
        wrong.append(f"{name} was recorded anew: accept it")
    return [*wrong, "accept by: python tests/golden/record.py --accept"] if wrong else []


def _version(each: dict[str, Any] | None) -> str:
    return f"version {each['version']}" if each else "not there"


def downgraded(records: Sequence[Record]) -> Iterator[Record]:
    """A log as older code would have written it: prices in dollars, candidates one by one; hash chains made anew."""
    last: dict[str, str] = {}
    for record in records:
        entity = ".".join(record.subject.split(".")[:4])
        events = json.loads(record.data)
        several = isinstance(events, list)
        older = [_older(event) | ({"prevhash": last[entity]} if entity in last else {}) for event in _list(events)]
        data = json.dumps(older if several else older[0], separators=(",", ":"), ensure_ascii=False).encode()
        last[entity] = message_hash(data)
        yield record._replace(data=data)


def _list(events: Any) -> list[dict[str, Any]]:
    return events if isinstance(events, list) else [events]


def _older(event: dict[str, Any]) -> dict[str, Any]:
    data = event["data"]
    match event["type"]:
        case "callboard.backend.priced.v1" if set(data["price"]) <= {"input", "output", "cached"}:
            usd = {name: f"{micros / 10**9:.9f}" for name, micros in data["price"].items()}
            return event | {"type": "callboard.backend.priced.v0", "data": {"usd_per_thousand": usd}}
        case "callboard.task.assigned.v2" | "callboard.task.hedged.v2":
            decision = data["decision"]
            older = {**data, "decision": {**decision, "candidates": _rows(decision.get("candidates", {}))}}
            return event | {"type": event["type"].replace(".v2", ".v1"), "data": older}
    return event


def _rows(columns: dict[str, Any]) -> list[dict[str, Any]]:
    fields = {"cost": "costs", "latency": "latencies", "quality": "qualities", "cached": "cached"}
    able = [
        {"backend": name} | {field: columns[many][place] for field, many in fields.items() if columns.get(many)}
        for place, name in enumerate(columns.get("backends", []))
    ]
    return able + [{"backend": name, "excluded": why} for name, why in columns.get("excluded", {}).items()]


def reencoded(record: Record) -> bytes:
    """A message as today's code writes what it reads of it."""
    return encode(decode(record.data))
