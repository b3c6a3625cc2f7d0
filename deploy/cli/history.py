"""A task's events, told for a person: what happened, in which calls, and how each decision turned out. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from callboard.deploy.cli.printing import clock, one_line, took, usd
from callboard.events import task, task_spec
from callboard.events.advice import Advised
from callboard.events.cascade import Answered, Declined
from callboard.events.chat import Usage, estimated_tokens
from callboard.events.envelope import Envelope, Unknown, short_type
from callboard.events.placement import Hedged
from callboard.events.private import forgotten_note, is_forgotten
from callboard.events.task_spec import Blob, Decision, Hold


class Step(Struct, frozen=True):
    """One event. ``actor`` is who appended it, ``cost`` in micro-dollars."""

    time: datetime
    version: int
    event: str
    actor: str
    told: str
    cost: int


class Call(Struct):
    """One model call. ``duration`` and ``first_token`` in ns; ``state`` is running, or how it ended."""

    call: int
    backend: str
    worker: str
    began: datetime
    state: str = "running"
    ended: datetime | None = None
    model: str = ""
    usage: Usage = Usage()
    cost: int = 0
    first_token: int = 0
    duration: int = 0
    why: str = ""


class Choice(Struct):
    """One assignment, or a hedge of the call ``hedges``.

    ``latency`` is ns from the decision to the end of its last call, None before it. ``hold`` is the money that was set
    aside for it.
    """

    time: datetime
    version: int
    attempt: int
    backend: str
    tokens: int
    decision: Decision
    check: str
    calls: list[Call]
    latency: int | None = None
    hold: Hold | None = None
    hedges: int | None = None

    @property
    def cost(self) -> int:
        """What its calls cost, in micro-dollars."""
        return sum(call.cost for call in self.calls)


class Refusal(Struct, frozen=True):
    """A decision against any backend, for now or for good."""

    time: datetime
    version: int
    event: str
    reason: str


def steps(envelopes: Sequence[Envelope]) -> list[Step]:
    """A line for each event."""
    return [
        Step(
            time=envelope.time,
            version=envelope.version,
            event=short_type(envelope.event),
            actor=envelope.source,
            told=told(envelope.event),
            cost=0 if getattr(envelope.event, "booked", False) else getattr(envelope.event, "cost", 0),
        )
        for envelope in envelopes
    ]


def choices(envelopes: Sequence[Envelope]) -> tuple[list[Choice], list[Refusal]]:
    """Every assignment with the calls it led to, and every decision to assign to nobody."""
    made: list[Choice] = []
    refused: list[Refusal] = []
    for envelope in envelopes:
        event = envelope.event
        match event:
            case task.Assigned() | Hedged():
                made.append(_chosen(envelope, event))
            case task.Parked() | task.Rejected() | task.DeadLettered():
                refused.append(Refusal(envelope.time, envelope.version, short_type(event), event.reason))
        for choice in made:
            _follow(choice, envelope, newest=choice is _newest(made, event))
    return made, refused


def _chosen(envelope: Envelope, event: task.Assigned | Hedged) -> Choice:
    check, hold, hedges = ("", None, event.call) if isinstance(event, Hedged) else (event.check, event.hold, None)
    at, attempt, tokens = envelope.time, event.attempt, event.tokens
    return Choice(
        at, envelope.version, attempt, event.backend, tokens, event.decision, check, [], hold=hold, hedges=hedges
    )


def _newest(made: Sequence[Choice], event: object) -> Choice | None:
    """The newest choice of the backend that a ``started`` names."""
    backend = event.backend if isinstance(event, task.Started) else None
    return next((choice for choice in reversed(made) if choice.backend == backend), None)


def _follow(choice: Choice, envelope: Envelope, *, newest: bool) -> None:
    """Fold one event into the choice whose call it is about."""
    event, time = envelope.event, envelope.time
    if isinstance(event, task.Started) and newest:
        choice.calls.append(Call(event.call, event.backend, event.worker, time))
        return
    for call in choice.calls:
        match event:
            case task.Completed(booked=True) if event.call == call.call:
                call.state = "used after all" if call.state == "declined" else short_type(event)
            case Declined() if event.call == call.call:
                call.state, call.why = "declined", f"{event.score / task.PERFECT:.0%}: {event.reason}"
            case task.Completed() | Answered() | task.Failed() if event.call == call.call:
                call.state, call.ended = short_type(event), time
                call.usage, call.cost, call.duration = event.usage, event.cost, event.duration
                if not isinstance(event, task.Failed):
                    call.model, call.first_token = event.model, event.first_token
                else:
                    call.why = f"{event.failure.kind}: {event.failure.message}"
            case task.Interrupted() if event.call == call.call:
                call.state, call.ended, call.why = "interrupted", time, "given up, or its worker went away"
            case task.Spent() if event.call == call.call:
                call.state, call.ended = "wasted", call.ended or time
                call.usage, call.cost, call.why = event.usage, event.cost, event.reason
            case task.Completed() | Answered() if call.state == "running":
                call.state, call.ended, call.why = "overtaken", time, "another was faster; its cost is not known yet"
            case task.Cancelled() | task.Expired() | task.DeadLettered() if call.state == "running":
                call.state, call.ended, call.why = "stopped", time, "its cost is not known yet"
        if call.ended:
            choice.latency = (call.ended - choice.time) // timedelta(microseconds=1) * 1000


def told(event: task.TaskEvent | object) -> str:
    """What an event of a task says, in one short line."""
    match event:
        case task.Submitted():
            return _asked(event.spec)
        case task.Assigned():
            check = f" (to be checked: {event.check})" if event.check else ""
            return f"to {event.backend}, try {event.attempt}: {event.decision.reason}{check}"
        case Hedged():
            return f"also to {event.backend}, try {event.attempt}: {event.decision.reason}"
        case task.Started():
            return f"call {event.call} on {event.backend}"
        case task.Completed(booked=True):
            return f"with the answer of call {event.call}, by {event.backend} ({event.model})"
        case task.Completed() | Answered():
            usage = event.usage
            speed = f"first token after {took(event.first_token)}, " if event.first_token else ""
            return (
                f"by {event.backend} ({event.model}), {usage.input} tokens in, {usage.output} out, {speed}"
                f"{took(event.duration)} in all"
            )
        case task.Failed():
            return f"call {event.call} on {event.backend}, {event.failure.kind}: {event.failure.message}"
        case task.Interrupted():
            return f"call {event.call} on {event.backend}: given up, or its worker went away"
        case task.Spent():
            return f"call {event.call} on {event.backend}, not used: {event.reason}"
        case Declined():
            return f"call {event.call} on {event.backend}, {event.score / task.PERFECT:.0%}: {event.reason}"
        case Advised():
            return f"{event.backend or 'nobody'} by task {event.by}: {event.reason}"
        case task.Parked():
            return event.reason + (f" (until {clock(event.until)})" if event.until else "")
        case task.Evaluated():
            return f"{event.score / task.PERFECT:.0%} says {event.source}{f': {event.note}' if event.note else ''}"
        case task.Expired():
            return f"not done by {clock(event.deadline)}"
        case task.Rejected() | task.Released() | task.Cancelled() | task.DeadLettered():
            return event.reason
        case Unknown():
            return "of a type that only a newer version knows"
    return ""


def reading(spec: task_spec.TaskSpec | None) -> str:
    """Which version of a context a task reads, and how much that is; empty for one that reads none."""
    if spec is None or spec.context is None:
        return ""
    if spec.shown is None:
        return f"reads context {spec.context}"
    shown = spec.shown
    messages = f"{shown.messages} message" if shown.messages == 1 else f"{shown.messages} messages"
    return f"reads context {spec.context}: {messages}, about {estimated_tokens(shown.characters)} tokens"


def _asked(spec: task_spec.TaskSpec) -> str:
    asked = f"{spec.input.size:,} bytes" if isinstance(spec.input, Blob) else task_spec.newest_text(spec) or ""
    asked = forgotten_note(spec.input.private) if is_forgotten(spec.input) else asked
    terms = [
        f"private to {spec.private}" if spec.private else "",
        f"reads {spec.context}" if spec.context else "",
        f"needs {' '.join(spec.needs.capabilities)}" if spec.needs != task_spec.NO_NEEDS else "",
        f"at most {usd(spec.max_cost)}" if spec.max_cost is not None else "",
        f"by {clock(spec.deadline)}" if spec.deadline else "",
        f"not before {clock(spec.not_before)}" if spec.not_before else "",
        f"policy {spec.policy}" if spec.policy else "",
        f"check {spec.check}" if spec.check else "",
        f"on {spec.backend}" if spec.backend else "",
        f"priority {spec.priority}" if spec.priority else "",
        f"tools {' '.join(tool.name for tool in spec.tools)}" if spec.tools else "",
        f"tags {' '.join(spec.tags)}" if spec.tags else "",
    ]
    return "; ".join([f"“{one_line(asked, 60)}”", *filter(None, terms)])
