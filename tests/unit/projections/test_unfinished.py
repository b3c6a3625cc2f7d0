"""Spans that have not ended are told under the ids that they will have."""

import pytest
from generators.task_histories import lively

from callboard.events import agent_events as agent
from callboard.events.envelope import Envelope
from callboard.projections.span import Span
from callboard.projections.spans import Spans, apply
from callboard.projections.unfinished import unfinished


def places(spans: list[Span]) -> dict[str, tuple]:
    return {span.span: (span.trace, span.parent, span.name, span.start_ns, span.links) for span in spans}


@pytest.mark.parametrize("seed", range(5))
def test_what_is_under_way_ends_as_it_is_told(seed):
    """At any moment it is what did not end before, and later ends with the same place in the same trace."""
    state, ended, seen = Spans(), [], []
    for envelope in lively(seed, tasks=10, steps=150):
        state = apply(state, envelope)
        ended += state.finished
        seen.append((len(ended), unfinished(state, 0)))
    last = places([*ended, *unfinished(state, 0)])
    assert any(under_way for _, under_way in seen)
    for number, under_way in seen:
        assert places(under_way).items() <= last.items()
        assert not {span.span for span in ended[:number]} & {span.span for span in under_way}


def test_an_agent_at_work_is_told_with_its_steps():
    """From when it took the message up; until when, is for whoever asks to say."""
    events = [agent.Received("m", agent.Value("hi")), agent.Taken("m", "h1", 1), agent.Began("look")]
    state, moment = Spans(), lively(1, tasks=1, steps=1)[0].time
    for number, event in enumerate(events, 1):
        state = apply(state, Envelope(f"e{number}", "host", "agent/writer", moment, event, number))
    whole, step = unfinished(state, 2_000_000_000_000_000_000)
    assert (whole.name, step.name, step.parent) == ("invoke_agent writer", "execute_tool look", whole.span)
    assert {span.end_ns for span in (whole, step)} == {2_000_000_000_000_000_000}
