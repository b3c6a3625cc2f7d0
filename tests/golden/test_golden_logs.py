"""Logs that real nodes wrote once are read by today's code, and mean today what they meant."""

import json

import pytest
from golden.golden_logs import (
    OLDER,
    computed,
    decode,
    entities,
    expected,
    names,
    objections,
    projected,
    read,
    reencoded,
    wire_types,
)

from callboard.events.envelope import EVENT_TYPES, Unknown
from callboard.events.upcasters import UPCASTERS

NOT_RECORDED: dict[str, str] = {}
"""Types of events that are in no golden log, and why."""


@pytest.mark.parametrize("name", names())
def test_what_a_golden_log_means(name):
    """Each projection and each kind of entity folds to the state it had when its version was accepted."""
    wrong = objections(name, computed(name), expected().get(name, {}))
    assert not wrong, "\n".join(wrong)


def test_what_is_said_of_a_change():
    """A fold that means something else has to have another version; then it is accepted by a command."""
    known = computed("money")
    changed = {"version": known["projections"]["cost"]["version"], "hash": "another"}
    raised = changed | {"version": changed["version"] + 1}
    assert objections("money", known, known) == []
    [said, how] = objections("money", known | {"projections": known["projections"] | {"cost": changed}}, known)
    assert "raise its version" in said
    assert how == "accept by: python tests/golden/record.py --accept"
    [said, _] = objections("money", known | {"projections": known["projections"] | {"cost": raised}}, known)
    assert said.endswith(f"was version {changed['version']} and is version {raised['version']}: accept it")
    assert "recorded anew" in objections("money", known | {"messages": 1}, known)[0]


def test_every_type_of_event_is_in_a_golden_log():
    """Every event that can be written, and every old one that can be read; else it is said why not."""
    recorded = set().union(*(wire_types(read(name)) for name in names()))
    missing = {*EVENT_TYPES, *UPCASTERS} - recorded - {*NOT_RECORDED}
    assert not missing, (
        f"{sorted(missing)}: let them happen in tests/golden/scenes.py and run python tests/golden/record.py, or say "
        "in NOT_RECORDED why not"
    )
    assert not recorded & {*NOT_RECORDED}


def test_older_code_wrote_the_same():
    """The log as older code would have written it is read as today's, event by event and state by state."""
    older, newer = read(OLDER), read("tasks")
    assert wire_types(older) & {*UPCASTERS}
    for one, other in zip(older, newer, strict=True):
        pairs = zip(decode(one.data), decode(other.data), strict=True)
        assert all(old.event == new.event for old, new in pairs), one
    assert projected(older) == projected(newer)
    states = [{kind: {name: each.state for name, each in of_kind.items()} for kind, of_kind in entities(log).items()}
              for log in (older, newer)]  # fmt: skip
    assert states[0] == states[1]


@pytest.mark.parametrize("name", sorted({*names()} - {OLDER}))
def test_todays_code_writes_the_same_bytes(name):
    """What is read and written again has the same bytes, so that no event has lost a field or changed its form."""
    for record in read(name):
        assert not any(isinstance(envelope.event, Unknown) for envelope in decode(record.data)), record
        assert json.loads(reencoded(record)) == json.loads(record.data)
