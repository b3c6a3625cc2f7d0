"""Spans that have not ended: what is under way at some moment of the log, under the ids that the spans will have."""

from collections.abc import Iterator

from callboard.projections.agent_spans import AgentSpans
from callboard.projections.span import Span
from callboard.projections.spans import Spans


def unfinished(state: Spans, at_ns: int) -> tuple[Span, ...]:
    """What is open, each as if it ended at ``at_ns`` (ns since 1970), or when it began if that was later."""
    return (*_of_tasks(state, at_ns), *_of_agents(state.agents, at_ns))


def _of_tasks(state: Spans, at_ns: int) -> Iterator[Span]:
    for run in state.open.values():
        yield run.whole.ended(run.trace, run.parent, at_ns, {}, remote=run.remote)
        for phase in filter(None, (run.phase, run.hedge)):
            yield phase.ended(run.trace, run.whole.span, at_ns, {})


def _of_agents(state: AgentSpans, at_ns: int) -> Iterator[Span]:
    for errand in state.work.values():
        assert errand.whole is not None
        yield errand.whole.ended(errand.trace, errand.parent, at_ns, {}, events=errand.events, remote=errand.remote)
        for step in errand.steps.values():
            yield step.ended(errand.trace, errand.span, at_ns, {})
