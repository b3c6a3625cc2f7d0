"""Traces as they are told from the log."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from generators.task_histories import histories
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.events import task, task_spec, trace
from callboard.events.backend import BackendSpec, Registered
from callboard.events.cascade import Answered, Declined
from callboard.events.chat import Usage
from callboard.events.envelope import Envelope
from callboard.events.placement import Hedged
from callboard.projections import semconv
from callboard.projections import spans as module
from callboard.projections.projection import dump, load
from callboard.projections.span import Span
from callboard.projections.span_attributes import of_request, of_task
from callboard.projections.spans import SPANS, Spans, apply

START = datetime(2026, 11, 23, tzinfo=UTC)
START_NS = 1_795_392_000_000_000_000
SPEC = task_spec.TaskSpec("hello", max_tokens=64, temperature=0.5, tags=("nightly",))
CALLER = trace.SpanContext("c" * 32, "d" * 16)


def assigned(attempt: int = 1, name: str = "fast") -> task.Assigned:
    candidates = task_spec.Candidates((name,), (5,), (6,), (0,), excluded={"slow": "is draining"})
    return task.Assigned(name, attempt, 99, task_spec.Decision("cheapest", "costs least", 7, candidates, 3, 500_000))


def completed(call: int = 1) -> task.Completed:
    return task.Completed("fast", call, "hi", Usage(10, 5, 2), 42, "m-2026", "stop", 2_000_000, 9_000_000)


def answered(call: int) -> Answered:
    return Answered("fast", call, "hi", Usage(10, 5, 2), 42, "m-2026", "stop", 2_000_000, 9_000_000)


class Story:
    """A log that is written event by event, 10 ms apart, and the spans it tells."""

    def __init__(self) -> None:
        self.log: list[Envelope] = []
        self.own: dict[str, trace.SpanContext] = {}
        self.state = Spans()
        self.spans: list[Span] = []
        self.tell("fast", Registered(BackendSpec("openai", "m", "http://127.0.0.1:8080/v1")), kind="backend")

    def tell(self, entity: str, *events: object, kind: str = "task", caller: trace.SpanContext | None = None) -> None:
        for event in events:
            event_id = f"{entity}-{len(self.log)}"
            own = trace.SpanContext(caller.trace if caller else trace.trace_id("root"), trace.span_id(event_id))
            first = entity not in self.own
            context = (caller or own) if first else self.own[entity]
            self.own.setdefault(entity, own)
            version = sum(envelope.entity == entity for envelope in self.log) + 1
            moment = START + timedelta(milliseconds=10 * len(self.log))
            envelope = Envelope(
                event_id, "test", f"{kind}/{entity}", moment, event, version, "", "root", context.traceparent
            )
            self.log.append(envelope)
            self.state = apply(self.state, envelope)
            self.spans += self.state.finished

    def named(self, start: str) -> list[Span]:
        return [span for span in self.spans if span.name.startswith(start)]

    def lines(self) -> list[str]:
        return [
            f"{span.name} {(span.start_ns - START_NS) / 1e6:g}-{(span.end_ns - START_NS) / 1e6:g}"
            for span in self.spans
        ]


@pytest.fixture
def story() -> Story:
    return Story()


def test_a_task_is_a_trace_of_four_spans(story):
    """Deciding, waiting and calling are children of the task's span, one after another."""
    story.tell("t", task.Submitted(SPEC), assigned(), task.Started("fast", 1, "w"), completed())
    assert story.lines() == [
        "route 10-20",
        "process evt.*.task.*.assigned.fast 20-30",
        "chat m 30-40",
        "invoke_workflow task 10-40",
    ]
    route, queue, chat, whole = story.spans
    assert (whole.trace, whole.span, whole.parent) == (*story.own["t"], "")
    assert {route.parent, queue.parent, chat.parent} == {whole.span}
    assert [span.kind for span in story.spans] == ["internal", "consumer", "client", "internal"]
    assert chat.span == trace.span_id("t-3"), "spans made live name it as their parent"
    assert chat.attributes == {
        "callboard.task.id": "t",
        "gen_ai.request.max_tokens": 64,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.operation.name": "chat",
        "callboard.backend": "fast",
        "callboard.call": 1,
        "callboard.worker": "w",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "m",
        "server.address": "127.0.0.1",
        "server.port": 8080,
        "callboard.outcome": "completed",
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
        "callboard.cost.usd_micros": 42,
        "gen_ai.usage.cache_read.input_tokens": 2,
        "gen_ai.response.model": "m-2026",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": 0.002,
    }
    assert [(event.name, event.time_ns - chat.start_ns) for event in chat.events] == [
        ("callboard.first_token", 2_000_000)
    ]
    assert route.attributes["callboard.route.policy"] == "cheapest"
    assert route.attributes["callboard.route.candidates"] == 1
    assert route.attributes["callboard.route.propensity_ppm"] == 500_000
    assert whole.attributes["callboard.task.status"] == "completed"
    assert whole.attributes["callboard.task.cost.usd_micros"] == 42
    assert not any(span.error for span in story.spans)


def test_a_cascade_is_told_step_by_step(story):
    """A call ends with its answer; what is found of that is a span of its own, and so is the wait for a judge."""
    story.tell("t", task.Submitted(SPEC), assigned(), task.Started("fast", 1, "w"))
    story.tell("t", answered(1), Declined("fast", 1, 300_000, "too short"))
    story.tell("t", assigned(2), task.Started("fast", 2, "w"), answered(2), task.Parked("asking", asks="q"))
    story.tell("t", msgspec.structs.replace(completed(2), booked=True))
    assert [line.partition(" ")[0] for line in story.lines()] == [
        "route", "process", "chat", "check", "route", "process", "chat", "check", "parked", "invoke_workflow",
    ]  # fmt: skip
    declined, waits = story.named("check")
    assert declined.attributes["callboard.outcome"] == "declined"
    assert (declined.attributes["callboard.score_ppm"], declined.attributes["callboard.reason"]) == (
        300_000,
        "too short",
    )
    assert waits.attributes["callboard.outcome"] == "parked"
    assert story.spans[-1].attributes["callboard.task.cost.usd_micros"] == 84
    assert not any(span.error for span in story.spans)


def test_a_caller_s_span_is_the_parent(story):
    """A task submitted with a traceparent is part of the caller's trace."""
    story.tell("t", task.Submitted(SPEC), caller=CALLER)
    story.tell("t", task.Cancelled("enough"))
    assert {span.trace for span in story.spans} == {CALLER.trace}
    assert (story.spans[-1].parent, story.spans[-1].remote) == (CALLER.span, True)
    assert story.spans[-1].error is None, "whoever cancels got what they wanted"


def test_a_failed_call_and_the_one_that_replaces_it(story):
    """A failed call is an error with its kind, and the next one is linked to it."""
    failed = task.Failed("fast", 1, task_spec.Failure("timeout", "sent no token"), Usage(10), 3)
    story.tell("t", task.Submitted(SPEC), assigned(), task.Started("fast", 1, "w"), failed)
    story.tell("t", assigned(2), task.Started("fast", 2, "w"), completed(2))
    first, second = story.named("chat")
    assert (first.error, first.attributes["error.type"]) == ("sent no token", "timeout")
    assert [(link.span, link.attributes) for link in second.links] == [(first.span, {"callboard.link": "replaces"})]
    assert len(story.named("route")) == 2
    assert story.spans[-1].attributes["callboard.task.cost.usd_micros"] == 45


def test_an_interrupted_call_and_its_late_bill(story):
    """The call of a worker that died is an error; what it cost is told below it, even after the task's end."""
    story.tell("t", task.Submitted(SPEC), assigned(), task.Started("fast", 1, "w"))
    story.tell("t", task.Interrupted("fast", 1), task.Started("fast", 2, "v"), completed(2))
    story.tell("t", task.Spent("fast", 1, Usage(10, 1), 8, "overtaken by call 2"))
    first, second = story.named("chat")
    assert first.attributes["error.type"] == "interrupted"
    assert first.error
    assert [link.span for link in second.links] == [first.span]
    (spent,) = story.named("spent")
    assert (spent.parent, spent.attributes["callboard.cost.usd_micros"]) == (first.span, 8)
    assert spent.attributes["callboard.wasted"] is True


def hedged(story) -> None:
    """Two calls of a task are under way."""
    decision = task_spec.Decision("hedge/1", "no token from fast after 1.00 s", 9)
    story.tell("t", task.Submitted(SPEC), assigned(), task.Started("fast", 1, "w"))
    story.tell("t", Hedged("spare", 2, 1, 99, decision), task.Started("spare", 2, "v"))


def test_a_hedge_is_a_call_beside_the_first(story):
    """Both end with the answer; the slower one as an error, with its bill below it."""
    hedged(story)
    story.tell(
        "t", task.Completed("spare", 2, "hi", Usage(1, 1), 5, "m"), task.Spent("fast", 1, Usage(1), 2, "stopped")
    )
    won, lost = story.named("chat")
    assert (won.attributes["callboard.backend"], won.error) == ("spare", None)
    assert (lost.attributes["callboard.backend"], lost.attributes["error.type"]) == ("fast", "overtaken")
    assert lost.start_ns < won.start_ns < lost.end_ns == won.end_ns
    assert story.named("spent")[0].parent == lost.span


def test_a_call_goes_on_when_the_one_beside_it_fails(story):
    """The task is not routed again; the answer ends the other call."""
    hedged(story)
    story.tell("t", task.Failed("fast", 1, task_spec.Failure("timeout", "no token")))
    story.tell("t", task.Completed("spare", 2, "hi", Usage(1, 1), 5, "m"))
    failed, answered = story.named("chat")
    assert (failed.error, answered.error) == ("no token", None)
    assert len(story.named("route")) == 1


@pytest.mark.parametrize(
    ("event", "how", "error"),
    [
        (task.Cancelled("enough"), "cancelled", None),
        (task.Expired(START), "expired", "deadline passed"),
        (task.DeadLettered("gave up"), "dead_lettered", "gave up"),
    ],
)
def test_the_end_of_a_task_ends_its_call(story, event, how, error):
    """A call that nobody wants any more ends with the task, as an error."""
    story.tell("t", task.Submitted(SPEC), assigned(), task.Started("fast", 1, "w"), event)
    story.tell("t", task.Spent("fast", 1, Usage(10, 1), 8, "stopped"))
    (chat,), (whole,), (spent,) = story.named("chat"), story.named("invoke"), story.named("spent")
    assert chat.attributes["error.type"] == chat.attributes["callboard.outcome"] == how
    assert chat.end_ns == whole.end_ns
    assert (whole.error, whole.attributes["callboard.task.status"]) == (error, how)
    assert spent.parent == chat.span


def test_waiting_for_a_place_is_a_span(story):
    """The time a task is parked is told apart from the time it took to decide."""
    story.tell("t", task.Submitted(SPEC), task.Parked("breaker open"), task.Released("woken"), assigned())
    assert story.lines() == ["route 10-20", "parked 20-30", "route 30-40"]
    assert [span.attributes["callboard.outcome"] for span in story.spans] == ["parked", "released", "assigned"]
    assert story.spans[0].attributes["callboard.reason"] == "breaker open"


def test_a_requeued_task_goes_on_in_its_trace(story):
    """What was dead and is tried again is a new span below the task's own, linked to what it was before."""
    story.tell("t", task.Submitted(SPEC), task.DeadLettered("gave up"), task.Requeued(), task.DeadLettered("again"))
    story.tell("t", task.Requeued(), assigned(), task.Started("fast", 1, "w"), completed())
    first, second, third = story.named("invoke")
    assert second.parent == third.parent == first.span
    assert [link.span for link in second.links] == [first.span]
    assert [link.span for link in third.links] == [second.span]
    assert story.named("chat")[0].parent == third.span
    assert third.error is None
    assert story.named("chat")[0].attributes["gen_ai.request.max_tokens"] == 64


def test_a_requeue_of_a_forgotten_task_is_traced_too(story, monkeypatch):
    """Only so many dead tasks are remembered, but the log itself says where the others belong."""
    monkeypatch.setattr(module, "KEPT_ENDED", 1)
    story.tell("t", task.Submitted(SPEC), task.DeadLettered("gave up"))
    for other in "abc":
        story.tell(other, task.Submitted(SPEC), task.DeadLettered("gave up"))
    assert set(story.state.ended.keys()) == {"b", "c"}
    story.tell("t", task.Requeued(), task.Cancelled())
    assert story.spans[-1].parent == story.own["t"].span


def test_a_refused_submission_is_one_span(story):
    """What intake rejects is a trace of one failed span."""
    story.tell("t", task.Rejected("input is empty"))
    (span,) = story.spans
    assert (span.span, span.parent, span.error) == (story.own["t"].span, "", "input is empty")


def test_a_subtask_is_below_its_parent(story):
    """A task made for another is in its trace and below its span; from another trace it is linked to it."""
    story.tell("t", task.Submitted(SPEC))
    story.tell("u", task.Submitted(msgspec.structs.replace(SPEC, parent="t")), task.Cancelled())
    story.tell("v", task.Submitted(SPEC), caller=CALLER)
    story.tell("w", task.Submitted(msgspec.structs.replace(SPEC, parent="v")), task.Cancelled())
    inner, linked = story.named("invoke")
    assert (inner.parent, inner.remote) == (story.own["t"].span, False)
    assert linked.parent == ""
    assert [(link.trace, link.span) for link in linked.links] == [story.own["v"]]


def test_events_of_a_task_that_began_before_the_log_tell_nothing(story):
    """What has lost its beginning is left out, never guessed."""
    story.tell("t", completed(), task.Spent("fast", 1, Usage(), 0, "late"))
    assert story.spans == []


@pytest.mark.parametrize(
    ("url", "provider"),
    [("https://api.deepseek.com/v1", "deepseek"), ("http://[broken", "openai"), ("http://x:99999/v1", "openai")],
)
def test_a_provider_is_named_by_its_host(story, url, provider):
    """A host that is known names the provider; a URL that can't be read costs nothing but that."""
    story.tell("fast", Registered(BackendSpec("openai", "m", url)), kind="backend")
    story.tell("t", task.Submitted(SPEC), assigned(), task.Started("fast", 1, "w"), completed())
    assert story.named("chat")[0].attributes["gen_ai.provider.name"] == provider


def as_appended(history: list[Envelope]) -> list[Envelope]:
    """The same events with the trace context that appending gives them, from machines whose clocks disagree."""
    own: dict[str, trace.SpanContext] = {}
    result = []
    for envelope in history:
        event, entity = envelope.event, envelope.entity
        context = own.get(entity) or (CALLER if entity.startswith("00") else None)
        own.setdefault(entity, trace.SpanContext(CALLER.trace, trace.span_id(envelope.id)))
        if isinstance(event, task.Submitted) and not entity.startswith("00"):
            event = task.Submitted(msgspec.structs.replace(event.spec, parent="00-task"))
        result.append(
            msgspec.structs.replace(
                envelope,
                event=event,
                time=envelope.time - timedelta(milliseconds=20 * (envelope.version % 3 == 2)),
                traceparent=(context or own[entity]).traceparent,
            )
        )
    return result


@settings(max_examples=150)
@given(histories(tasks=3, steps=50).map(as_appended), st.integers(0, 50))
def test_any_history_gives_well_formed_traces(history, cut):
    """Each parent exists or is the caller's, nothing is told twice, and a snapshot on the way changes nothing."""
    state, spans = Spans(), []
    for envelope in history:
        state = apply(state, envelope)
        spans += state.finished
    ids = [span.span for span in spans]
    begun = {run.whole.span for run in state.open.values()}
    assert len(ids) == len(set(ids))
    assert {span.trace for span in spans} <= {CALLER.trace}
    for span in spans:
        assert span.end_ns >= span.start_ns
        assert all(span.start_ns <= event.time_ns <= span.end_ns for event in span.events)
        assert span.parent in {*ids, *begun, CALLER.span, ""}
        assert span.parent != span.span
        assert {link.span for link in span.links} <= {*ids, *begun}
    started = [envelope for envelope in history if isinstance(envelope.event, task.Started)]
    phases = [phase for run in state.open.values() for phase in (run.phase, run.hedge)]
    running = sum(phase is not None and phase.stage == "chat" for phase in phases)
    assert sum(span.name.startswith("chat") for span in spans) == len(started) - running

    again, told = Spans(), []
    for number, envelope in enumerate(history):
        if number == cut:
            restored = load(SPANS, dump(SPANS, again, number))
            assert restored is not None
            again = restored[0]
        again = apply(again, envelope)
        told += again.finished
    assert told == spans


def test_a_context_is_a_conversation():
    """All tasks that read one belong together, whichever version each reads; that is told too."""
    spec = task_spec.TaskSpec("x", context="plan@17")
    assert of_task("t", spec)[semconv.CONVERSATION] == of_request("t", spec)[semconv.CONVERSATION] == "plan"
    assert of_task("t", spec)[semconv.TASK_CONTEXT] == "plan@17"
