"""What everybody may know of a private event: names, numbers and times, and nothing that was said."""

import re
from datetime import UTC, datetime
from typing import get_args

import msgspec
import pytest
from msgspec.structs import replace

from callboard.events import agent_events as agent
from callboard.events import approval, context_events, person, schedule, task
from callboard.events.advice import Advised
from callboard.events.cascade import Answered, Declined
from callboard.events.chat import Message, Tool, ToolCall, Usage
from callboard.events.envelope import Envelope, decode, encode, forgotten, opened, whole
from callboard.events.errors import IllegalTransition, Undecodable
from callboard.events.placement import Hedged
from callboard.events.private import Said, forgotten_note, forgotten_reason, is_forgotten, is_hidden, note, public
from callboard.events.task_spec import Blob, Candidates, Decision, Failure, Hold, Shown, TaskSpec
from callboard.projections.tasks import TASKS, Tasks

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
CALLS = (ToolCall("id", "name", "arguments"),)
SPEC = TaskSpec(
    input=(Message("user", "content", CALLS, "call"),),
    system="system",
    stop=("stop",),
    schema={"title": "title"},
    tools=(Tool("name", "description", {"title": "title"}),),
    policy="policy",
    check="check",
    backend="backend",
    tags=("tag",),
    budget="budget",
    context="context",
    shown=Shown(1, 1, 1, 1, newest="newest"),
    owner="owner",
    parent="parent",
    reply_to="reply",
    key="key",
    private="ann",
)
DECISION = Decision("agent/1", "reason", 1, Candidates(("a",), (1,), (1,), (1,), excluded={"b": "why"}))
FAILURE = agent.StepFailure("kind", "message")
VALUE = agent.Value({"key": "json"})
OFFER = agent.HandOff((agent.Manifest("context", 1, 1),), "budget", NOW)
SAY = context_events.Say("user", "content", CALLS, "call", "origin")
PUT = context_events.Put("key", {"key": "value"})
BLOB = Blob("hash", 9, "media", "ann")
PUBLIC = {
    "Submitted": "spec.tools.0.name spec.tags.0 spec.backend spec.budget spec.check spec.context spec.key spec.owner "
    "spec.parent spec.policy spec.private spec.reply_to",
    "Rejected": "private",
    "Completed": "backend model finish tool_calls.0.id tool_calls.0.name",
    "Answered": "backend model finish tool_calls.0.id tool_calls.0.name",
    "Failed": "backend failure.kind",
    "Assigned": "backend check hold.budget hold.lease decision.policy decision.candidates.backends.0 "
    "decision.candidates.excluded.b",
    "Evaluated": "backend",
    "Declined": "backend",
    "Advised": "by backend",
    "Changed": "by cause private operations.0.origin operations.0.tool_call_id operations.0.tool_calls.0.id "
    "operations.0.tool_calls.0.name operations.1.key operations.2.key operations.2.artifact.media operations.3.key",
    "Merged": "source by operations.0.key disagreements.0.key disagreements.0.ours.key disagreements.0.theirs.key",
    "Compacted": "by",
    "Received": "message sender by reply_to key chain.0 handoff.manifest.0.context handoff.budget traceparent private",
    "Sent": "step to message chain.0 handoff.manifest.0.context handoff.budget traceparent private",
    "Stepped": "step failure.kind on",
    "Finished": "message failure.kind to private",
    "AgentAnswered": "message sender failure.kind private",
    "Late": "message sender failure.kind private",
    "Remembered": "key",
    "Stumbled": "message failure.kind step",
    "DeadLettered": "message failure.kind step to private",
    "Requested": "by replaces private",
    "Approved": "by",
    "Denied": "by",
    "Ignored": "by reason",
    "Planned": "cron zone letter.agent letter.private",
}
EVENTS = {
    "Submitted": task.Submitted(SPEC),
    "Rejected": task.Rejected("reason", "payload", "ann"),
    "Completed": task.Completed("backend", 1, "output", Usage(), 1, "model", "finish", tool_calls=CALLS),
    "Answered": Answered("backend", 1, "output", Usage(), 1, "model", "finish", tool_calls=CALLS),
    "Failed": task.Failed("backend", 1, Failure("kind", "message")),
    "Assigned": task.Assigned("backend", 1, 1, DECISION, hold=Hold("budget", 1, 1, 1, "lease"), check="check"),
    "Evaluated": task.Evaluated("backend", 1, 1, note="note"),
    "Cancelled": task.Cancelled("reason"),
    "TaskDeadLettered": task.DeadLettered("reason"),
    "Declined": Declined("backend", 1, 1, "reason"),
    "Advised": Advised("by", "reason", "backend"),
    "Changed": context_events.Changed(
        1, (SAY, PUT, context_events.Put("key", artifact=BLOB), context_events.Drop("key")), "by", "cause", "ann"
    ),
    "Merged": context_events.Merged(
        "source", 1, 1, 1, (PUT,), (context_events.Disagreement("key", None, PUT, PUT),), by="by"
    ),
    "Compacted": context_events.Compacted(0, 1, "summary", by="by"),
    "Received": agent.Received("message", VALUE, "sender", 1, "by", "reply", "key", ("chain",), OFFER, "trace", "ann"),
    "Sent": agent.Sent("step", "to", 1, "message", VALUE, ("chain",), OFFER, "trace", "ann"),
    "Stepped": agent.Stepped("step", VALUE, FAILURE, "on"),
    "Finished": agent.Finished("message", VALUE, FAILURE, "to", 1, "ann"),
    "AgentAnswered": agent.Answered("message", "sender", 1, VALUE, FAILURE, "ann"),
    "Late": agent.Late("message", "sender", 1, VALUE, FAILURE, "ann"),
    "Remembered": agent.Remembered("key", VALUE),
    "Stumbled": agent.Stumbled("message", 1, FAILURE, NOW, "step"),
    "DeadLettered": agent.DeadLettered("message", FAILURE, "step", "to", 1, "ann"),
    "Requested": approval.Requested({"key": "action"}, "hash", "question", "by", NOW, "replaces", "ann"),
    "Approved": approval.Approved("hash", "by", "note"),
    "Denied": approval.Denied("hash", "by", "note"),
    "Removed": schedule.Removed("reason"),
    "Ignored": approval.Ignored(True, "by", "reason", "note"),
    "Planned": schedule.Planned("cron", None, NOW, "zone", letter=schedule.Letter("agent", VALUE, "ann")),
}
WORDLESS = {
    *(task.Parked, task.Released, task.Spent, task.Started, task.Interrupted, task.Expired, task.Requeued, Hedged),
    *(agent.Defined, agent.Taken, agent.Began, agent.Paused, agent.Rang, agent.Rested, agent.Requeued),
    *(approval.Expired, approval.Superseded, schedule.Fired, context_events.Forked),
}
"""Events in which nothing is said: whatever reason they give is the code's own, and quotes nobody."""


def test_every_event_is_looked_at():
    """One that may be about a person is either here or holds no words."""
    assert {type(event) for event in EVENTS.values()} | WORDLESS == set(get_args(Said))


def leaves(value, path=()):
    """The places of all texts in some JSON."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from leaves(each, (*path, key))
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield from leaves(each, (*path, number))
    elif isinstance(value, str):
        yield path


def marked(event, path):
    """The event with SECRET as the text at a place; None if it can be no text of our choice."""
    data = msgspec.json.decode(msgspec.json.encode(event))
    holder = data
    for part in path[:-1]:
        holder = holder[part]
    holder[path[-1]] = "SECRET"
    try:
        return msgspec.convert(data, type(event))
    except msgspec.ValidationError:
        return None


@pytest.mark.parametrize("name", EVENTS)
def test_what_is_public_is_only_what_is_listed(name):
    """Of all places where an event may hold a text, just those leave one readable that hold names."""
    event = EVENTS[name]
    seen = set()
    for path in leaves(msgspec.json.decode(msgspec.json.encode(event))):
        changed = marked(event, path)
        if changed is not None and b"SECRET" in msgspec.json.encode(public(changed, "ann")):
            seen.add(".".join(map(str, path)))
    assert seen == set(PUBLIC.get(name, "").split())


@pytest.mark.parametrize("name", EVENTS)
def test_what_is_public_stays_so(name):
    """Hiding what is hidden already changes nothing, and the type stays the same."""
    once = public(EVENTS[name], "ann")
    assert public(once, "ann") == once
    assert type(once) is type(EVENTS[name])


def test_how_much_there_was_is_public():
    """Sizes are known, so that whoever reads no text can still tell how much work it is."""
    hidden = public(task.Submitted(TaskSpec("äöü")), "ann").spec.input
    assert hidden == Blob("", 6, private="ann")
    assert public(task.Submitted(TaskSpec("")), "ann").spec.input == Blob("", 0, private="ann")


def test_what_a_task_needs_is_public():
    """That it has a schema and which tools, since that decides who can do it."""
    hidden = public(task.Submitted(SPEC), "ann").spec
    assert (hidden.schema, hidden.tools) == ({}, (Tool("name", "", {}),))


def test_what_is_hidden_is_not_yet_forgotten():
    """Whoever reads without a key can tell what could be read from what nobody can read any more."""
    read = enveloped(public(task.Submitted(SPEC), "ann"), private="ann", sealed=b"cipher")
    assert is_hidden(read.event.spec.input)
    assert not is_forgotten(read.event.spec.input)
    assert is_forgotten(forgotten(read).event.spec.input)


def test_why_something_was_forgotten_is_no_secret():
    """It is the reason of the dead letter that whoever waited gets."""
    event = task.DeadLettered(forgotten_reason("ann"))
    assert public(event, "ann") == event


def enveloped(event, **fields) -> Envelope:
    return Envelope("id-1", "client", "task/t-1", NOW, event, 1, **fields)


def test_an_event_is_not_written_before_it_is_sealed():
    """Whoever forgets to seal it can't write it."""
    with pytest.raises(Undecodable, match="not sealed"):
        encode([enveloped(task.Cancelled("secret"), private="ann")])


def test_a_sealed_event_is_read_with_and_without_its_key():
    """Its bytes hold no word of it; opened, it is as it was said; forgotten, it says so."""
    said = enveloped(task.Cancelled("secret"))
    data = encode([replace(said, private="ann", sealed=b"cipher")])
    assert b"secret" not in data
    (read,) = decode(data)
    assert read.event == task.Cancelled(note("ann"))
    assert opened(read, whole(said)).event == said.event
    assert forgotten(read).event == task.Cancelled(forgotten_note("ann"))
    assert encode([read]) == data == encode([opened(read, whole(said))])
    with pytest.raises(Undecodable):
        opened(read, b"callboard.task.cancelled.v1\n{")


def test_a_projection_holds_nothing_of_it():
    """The row of a private task tells how much was asked, not what."""
    sealed = replace(enveloped(task.Submitted(replace(SPEC, input="hello"))), private="ann", sealed=b"cipher")
    (read,) = decode(encode([sealed]))
    state = TASKS.apply(Tasks(), read)
    assert state.open["t-1"].preview == "(private, 5 bytes)"


def test_what_is_said_of_nobody_is_written_as_before():
    """Neither a field nor a byte is added."""
    data = encode([enveloped(task.Submitted(TaskSpec("hello")))])
    assert not re.search(rb"private|sealed", data)


def test_keys_follow_on_each_other():
    """A new key comes first, or after the last one was destroyed; each is destroyed once."""
    start = person.Person("ann")
    assert person.decide(start, person.Keyed(1)) == [person.Keyed(1)]
    keyed = person.evolve(start, person.Keyed(1))
    assert person.decide(keyed, person.Keyed(1)) == []
    gone = person.evolve(keyed, person.Forgotten(1))
    assert person.decide(gone, person.Forgotten(1)) == []
    assert person.decide(gone, person.Keyed(2)) == [person.Keyed(2)]
    for state, wrong in (
        (start, person.Keyed(2)),
        (start, person.Forgotten(1)),
        (start, person.Forgotten(0)),
        (keyed, person.Keyed(2)),
        (gone, person.Keyed(1)),
    ):
        with pytest.raises(IllegalTransition):
            person.decide(state, wrong)
