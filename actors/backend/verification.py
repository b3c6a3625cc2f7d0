"""Verification: what the log should say of an answer that has just come in."""

from collections.abc import Mapping

import structlog

from callboard.actors.checks import JUDGE, SCHEMA, Check, found_by
from callboard.actors.json_schema import fits
from callboard.events.cascade import Answered, Declined
from callboard.events.task import PERFECT, Completed, Evaluated, TaskEvent
from callboard.events.task_spec import TaskSpec

_log = structlog.get_logger(__name__)


async def verified(
    completed: Completed, text: str, spec: TaskSpec, check: str, checks: Mapping[str, Check]
) -> tuple[Completed | Answered, list[TaskEvent]]:
    """The answer and what was found of it: it completes the task, or is set aside for a judge, or as declined.

    A schema is always looked at, since that is cheap; ``check`` (empty: none) only at an answer that fits it. Wishes to
    call tools are no text to verify.
    """
    if completed.tool_calls:
        return completed, []
    backend, call = completed.backend, completed.call
    fit = fits(spec.schema, text) if spec.schema is not None else None
    scores = {} if fit is None else {SCHEMA: fit.score}
    judged: list[TaskEvent] = [] if fit is None else [Evaluated(backend, call, fit.score, "schema", fit.note)]
    if not check:
        return completed, judged
    if fit is not None and fit.score < PERFECT:
        return _set_aside(completed, scores), [Declined(backend, call, fit.score, fit.note)]
    if check == JUDGE:
        return _set_aside(completed, scores), []
    function = checks[check].function if check in checks else None
    if function is None:
        if check != SCHEMA:
            _log.warning("no such check here: the answer is not verified", check=check, backend=backend)
        return completed, judged
    found = await found_by(function, text)
    if found.score < checks[check].accept:
        return _set_aside(completed, scores), [Declined(backend, call, found.score, found.note)]
    return completed, [*judged, Evaluated(backend, call, found.score, "cascade", found.note)]


def _set_aside(completed: Completed, scores: dict[str, int]) -> Answered:
    fields = {name: getattr(completed, name) for name in Completed.__struct_fields__ if name != "booked"}
    return Answered(**fields, scores=scores)
