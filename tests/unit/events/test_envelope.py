"""The bytes of events: golden for every released type, old ones lifted, unknown ones kept."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from generators.task_histories import histories
from hypothesis import given

from callboard.events import agent_events as agent
from callboard.events import approval, backend, budget, person, schedule, task
from callboard.events.advice import Advised
from callboard.events.cascade import Answered, Declined
from callboard.events.chat import Message, Tool, ToolCall, Usage
from callboard.events.context import Changed, Compacted, Drop, Forked, Merged, Put, Say
from callboard.events.context_events import Disagreement
from callboard.events.envelope import EVENT_TYPES, Envelope, Unknown, decode, encode, message_hash
from callboard.events.errors import Undecodable
from callboard.events.money import Price
from callboard.events.placement import Hedged
from callboard.events.scaling import Demand, Scaling
from callboard.events.task_spec import Blob, Candidates, Decision, Failure, Hold, Needs, Shown, TaskSpec

GOLDEN = Path(__file__).parent / "golden"
MOMENT = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)

DEMAND = Demand(MOMENT, 7, 4, 9, 900, 60_000_000_000, 300_000_000, 2_000_000_000, 6, 13, 3_000_000_000, 5)
HAND_OFF = agent.HandOff((agent.Manifest("2f-plan", 7, 900),), "2f-slice", MOMENT)

EXAMPLES: list[object] = [
    task.Submitted(
        TaskSpec(
            input=(Message("user", "Wie geht's?"), Message("assistant", "", (ToolCall("1", "f", "{}"),))),
            system="Be brief.",
            needs=Needs(("chat", "vision"), 4000, ("region:eu",)),
            max_tokens=10,
            temperature=0.5,
            deadline=MOMENT,
            tags=("x",),
            max_cost=5,
            schema={"type": "object"},
            tools=(Tool("now", "The time.", {"type": "object"}),),
        )
    ),
    task.Rejected("unknown field", "{"),
    task.Parked("breaker open", MOMENT, "team", 70, breach=True),
    task.Assigned(
        "a",
        1,
        99,
        Decision(
            policy="adaptive/1",
            reason="best value",
            seen=7,
            candidates=Candidates(("a",), (5,), (6,), (900_000,), excluded={"b": "no"}),
            seed=3,
            propensity=750_000,
            features=b"d\x9c\x00",
            input=42,
            pace=120,
            money=1_500_000,
            solved=True,
        ),
        priority=9,
        hold=Hold("team", 70, 30, 20, "lease-1"),
    ),
    Hedged(
        "b",
        2,
        1,
        99,
        Decision("balanced/1", "no first token", 8, Candidates(("b",), (5,), (6,), (700_000,)), 4),
        priority=9,
    ),
    task.Released("draining"),
    task.Started("a", 1, "backend/a/0#ff"),
    task.Interrupted("a", 1),
    task.Completed("a", 2, Blob("ab" * 32, 70_000), Usage(9, 8, 7), 6, "m", "length", 5, 4, (), estimated=True),
    task.Failed("a", 1, Failure("rate_limited", "slow down", 1_000_000_000), Usage(1), 2, 3),
    task.Spent("a", 1, Usage(1, 2), 3, "task is cancelled"),
    task.Cancelled("changed my mind"),
    task.Expired(MOMENT),
    task.DeadLettered("gave up"),
    task.Requeued(),
    task.Evaluated("a", 2, 870_000, "judge", "too long"),
    Answered("a", 2, "out", Usage(9, 8, 7), 6, "m", "length", 5, 4, scores={"schema": 1_000_000}),
    Declined("a", 2, 400_000, "too short", 3),
    Advised("0a-advice", "short and simple", "a"),
    backend.Registered(backend.BackendSpec("openai", "m", "http://127.0.0.1:1/v1", rpm=60)),
    backend.Priced(Price(150_000, 600_000, 75_000)),
    backend.Scaled(3, "by hand"),
    backend.Drained("upgrade"),
    backend.Resumed(),
    backend.Opened("5 failures", MOMENT),
    backend.HalfOpened(),
    backend.Closed(),
    backend.Removed(),
    budget.Granted(1_000_000, "tenant", "ask"),
    budget.Reserved("lease-1", 10, "team", "router#1", MOMENT),
    budget.Sealed("lease-1", "idle"),
    budget.Settled("lease-1", 9, 3, 2),
    budget.Refunded("lease-2"),
    budget.Breached("t-1", 70, 9),
    Forked("plan", 3, 2),
    Changed(
        2,
        (
            Say("assistant", "hello", (ToolCall("1", "f", "{}"),)),
            Say("tool", Blob("ab" * 32, 70_000), tool_call_id="1", origin="plan:1"),
            Put("colour", ["red", 1]),
            Put("picture", artifact=Blob("cd" * 32, 9, "image/png")),
            Drop("size"),
        ),
        "writer",
        "step-1",
    ),
    Merged("fork", 7, 1, 4, (Drop("a"),), (Disagreement("b", None, Put("b", 1), Put("b", 2)),), "ours", "writer"),
    Compacted(0, 9, "in short", 900, "writer"),
    schedule.Planned("0 9 * * 1-5", TaskSpec("Good morning"), MOMENT, "Europe/Lisbon", 60_000_000_000),
    schedule.Fired(MOMENT, "2f-01", 2, MOMENT),
    schedule.Removed("no longer needed"),
    approval.Requested({"tool": "mail", "to": ["ann"]}, "ab" * 32, "Send it?", "writer", MOMENT, "2f-01"),
    approval.Approved("ab" * 32, "ann", "fine"),
    approval.Denied("ab" * 32, "ann", "not yet"),
    approval.Expired(MOMENT),
    approval.Superseded("2f-02"),
    approval.Ignored(True, "bob", "it is denied", "too late"),
    agent.Defined("Writes letters.", ("now",), ("researcher",)),
    agent.Received(
        "2f-01", agent.Value({"topic": "tides"}), "editor--1", 3, chain=("boss", "editor--1"), handoff=HAND_OFF
    ),
    agent.Taken("2f-01", "h1", 4),
    agent.Began("look up", 2),
    agent.Stepped("look up", agent.Value(aside=Blob("ab" * 32, 70_000, "application/json")), on="task/2f-02"),
    agent.Paused("night", MOMENT),
    agent.Rang("night"),
    agent.Sent("ask", "writer--1", 3, "2f-01", agent.Value("tides?"), ("boss", "editor--1"), HAND_OFF),
    agent.Answered("2f-01", "writer--1", 7, agent.Value(["neap", "spring"])),
    agent.Late("2f-01", "writer--1", 8, failure=agent.StepFailure("ValueError", "no such thing")),
    agent.Remembered("tone", agent.Value("dry")),
    agent.Rested(("timer/night", "answer/2f-01")),
    agent.Finished("2f-01", agent.Value("done"), to="editor--1", number=7),
    agent.Stumbled("2f-01", 1, agent.StepFailure("OSError", "no route to host"), MOMENT, "look up"),
    agent.DeadLettered("2f-01", agent.StepFailure("unknown", "interrupted"), "pay", "editor--1", 8),
    agent.Requeued("2f-01"),
    person.Keyed(2),
    person.Forgotten(2, "dpo", "she asked for it"),
]


def enveloped(event: object) -> Envelope:
    kind = event.type.split(".")[1]
    return Envelope(
        "id-1", "router#1", f"{kind}/e-1", MOMENT, event, 3, "cause", "root", f"00-{'a' * 32}-{'b' * 16}-01", "c" * 64
    )


def test_every_event_type_has_an_example():
    """A new event must be added here, and so gets golden bytes."""
    assert {type(event) for event in EXAMPLES} == set(EVENT_TYPES.values())


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event.type)
def test_golden_bytes(event):
    """What was written once is written the same way, and read back the same, for ever."""
    path = GOLDEN / f"{event.type}.json"
    data = encode([enveloped(event)])
    if not path.exists():
        path.write_bytes(data)
        pytest.fail(f"{path.name} is new: look at it and commit it")
    assert data == path.read_bytes()
    assert decode(data) == [enveloped(event)]


def test_a_task_that_reads_a_context_has_golden_bytes():
    """Which version it reads, and how much that is, beside an input that may be empty."""
    shown = Shown(12, 3, 3400, 3456, b"\x01\x02\x03\x04", "What next?")
    event = task.Submitted(TaskSpec(input="", context="plan@17", shown=shown))
    data = encode([enveloped(event)])
    assert data == (GOLDEN / "callboard.task.submitted.v1.context.json").read_bytes()
    assert decode(data) == [enveloped(event)]


def test_an_event_about_a_person_has_golden_bytes():
    """What everybody may know stands beside all of it, sealed."""
    event = task.Submitted(TaskSpec(input="hello", system="Be brief.", tags=("x",), private="ann"))
    data = encode([msgspec.structs.replace(enveloped(event), private="ann", sealed=b"\x01\x02\x03")])
    assert data == (GOLDEN / "callboard.task.submitted.v1.private.json").read_bytes()
    assert encode(decode(data)) == data


@pytest.mark.parametrize(
    ("event", "name"),
    [
        (agent.Defined("Writes letters.", ("now", "mail"), (), ("mail",)), "defined.v1.approvals"),
        (agent.Began("mail 1.1", 1, "approve mail 1.1"), "began.v1.needs"),
    ],
)
def test_what_needs_an_approval_has_golden_bytes(event, name):
    """Which tools do, and which step asked for it."""
    data = encode([enveloped(event)])
    assert data == (GOLDEN / f"callboard.agent.{name}.json").read_bytes()
    assert decode(data) == [enveloped(event)]


@pytest.mark.parametrize(
    ("event", "name"),
    [
        (backend.Scaled(4, "9 calls wait", demand=DEMAND), "scaled.v1.by_load"),
        (backend.Scaled(4, "scaled by hand", held=True), "scaled.v1.held"),
        (backend.Registered(backend.BackendSpec("openai", "m", scaling=Scaling(0, 8))), "registered.v1.scaling"),
    ],
)
def test_scaling_by_load_has_golden_bytes(event, name):
    """What was seen and decided, what load is not to change, and within which bounds."""
    data = encode([enveloped(event)])
    assert data == (GOLDEN / f"callboard.backend.{name}.json").read_bytes()
    assert decode(data) == [enveloped(event)]


def test_an_old_price_is_lifted():
    """Version 0 of `priced` held dollars per thousand tokens."""
    (envelope,) = decode((GOLDEN / "callboard.backend.priced.v0.json").read_bytes())
    assert envelope.event == backend.Priced(Price(150_000, 600_000))


def test_a_decision_of_an_earlier_version_is_read():
    """What was written before decisions said anything about learning and pace has the defaults."""
    (envelope,) = decode((GOLDEN / "callboard.task.assigned.v1.before_learning.json").read_bytes())
    candidates = Candidates(("a",), (5,), (6,), (0,), excluded={"b": "no"})
    decision = Decision("balanced/1", "best value", 7, candidates, 3)
    assert envelope.event == task.Assigned("a", 1, 99, decision, priority=9)
    read = envelope.event.decision
    assert (read.propensity, read.features, read.input) == (1_000_000, b"", 0)
    assert (read.pace, read.money, read.solved) == (0, 1_000_000, False)


def test_a_message_is_valid_cloudevents():
    """Required attributes are there, and extension names are lower-case letters and digits."""
    wire = msgspec.json.decode(encode([enveloped(task.Requeued())]))
    assert wire["specversion"] == "1.0"
    assert {"id", "type", "source", "subject", "time", "data"} <= set(wire)
    assert all(name.isalnum() and name == name.lower() for name in wire)


def test_unknown_types_are_kept_as_they_are():
    """An event of tomorrow is read, not understood, and written back byte by byte."""
    data = encode([enveloped(task.Requeued())]).replace(b"requeued.v1", b"praised.v9")
    (envelope,) = decode(data)
    assert isinstance(envelope.event, Unknown)
    assert encode([envelope]) == data


def test_unknown_fields_are_tolerated():
    """A newer minor version may add fields."""
    data = encode([enveloped(task.Cancelled("x"))]).replace(b'"reason"', b'"mood":"fine","reason"')
    assert decode(data)[0].event == task.Cancelled("x")


@pytest.mark.parametrize("data", [b"", b"{", b"[" * 99_999, b"[]x", b"null", b'{"id":"x"}', b"\xff\xfe", b'"text"'])
def test_garbage_is_undecodable(data):
    """It raises one error that shows how the bytes begin."""
    with pytest.raises(Undecodable, match="not an event"):
        decode(data)


def test_data_that_does_not_fit_its_type_is_undecodable():
    """A known type with the wrong data is broken, not unknown."""
    data = encode([enveloped(backend.Scaled(1))]).replace(b'"replicas":1', b'"replicas":"one"')
    with pytest.raises(Undecodable, match="Expected `int`"):
        decode(data)


@given(histories())
def test_messages_of_several_events_round_trip(history):
    """One message may hold any number of events."""
    if history:
        data = encode(history)
        assert decode(data) == history
        assert len(message_hash(data)) == 64
