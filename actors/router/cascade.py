"""Cascades, pure: how answers are verified, when a better backend is tried, and which answer is used in the end."""

from collections.abc import Mapping

from msgspec import Struct, field

from callboard.actors.checks import BUILT_IN, JUDGE, SCHEMA, Check
from callboard.actors.strict_json import did_you_mean
from callboard.events.cascade import Answered, Declined
from callboard.events.task import PERFECT, WAITING, Completed, Evaluated, Task, TaskEvent
from callboard.events.task_spec import TaskSpec


class CascadeRules(Struct, frozen=True):
    """How cascades are set up.

    ``default`` is the check of tasks that name none and have no schema. After so many ``escalations`` the best answer
    so far is used. ``judge`` is the backend that judges, None for the cheapest.
    """

    checks: Mapping[str, Check] = field(default_factory=lambda: BUILT_IN)
    default: str = JUDGE
    escalations: int = 2
    judge: str | None = None
    judge_timeout_s: float = 30.0


def check_of(spec: TaskSpec, rules: CascadeRules) -> str:
    """The name of what answers to the task are verified with."""
    return spec.check or (SCHEMA if spec.schema is not None else rules.default)


def refusal(spec: TaskSpec, rules: CascadeRules, *, cascades: bool) -> str | None:
    """Why a task's check can't be made, None if it can."""
    if not cascades:
        return None if spec.check is None else f"check {spec.check!r}: only the policy 'cascade' verifies answers"
    check = check_of(spec, rules)
    if check not in rules.checks:
        return f"unknown check {check!r}{did_you_mean(check, rules.checks)}; known: {', '.join(sorted(rules.checks))}"
    if check == SCHEMA and spec.schema is None:
        return "check 'schema': the task has no schema; give it one, or name another check"
    return None


def no_better(task: Task, backend: str, quality: int) -> str | None:
    """Why a cascade does not go on to ``backend``, of which ``quality`` is expected; None if it may."""
    for declined in task.declined:
        if declined.backend == backend:
            return f"its answer was declined ({declined.score / PERFECT:.0%})"
    best = max((declined.score for declined in task.declined), default=-1)
    if quality <= best:
        return f"quality {quality / PERFECT:.0%} is no better than that of a declined answer ({best / PERFECT:.0%})"
    return None


def unjudged(task: Task) -> Answered | None:
    """The answer that was set aside and waits for its judge."""
    if task.status not in WAITING or not task.answers:
        return None
    newest = task.answers[-1]
    return None if any(declined.call == newest.call for declined in task.declined) else newest


def best_declined(task: Task) -> tuple[Answered, Declined] | None:
    """The best answer that was declined; of equals the newest, from the better backend."""
    if not task.declined:
        return None
    best = max(task.declined, key=lambda declined: (declined.score, declined.call))
    return next(answer for answer in task.answers if answer.call == best.call), best


def completed_with(answer: Answered) -> Completed:
    """The task completed with an answer that was set aside."""
    fields = {name: getattr(answer, name) for name in Answered.__struct_fields__ if name != "scores"}
    return Completed(**fields, booked=True)


def judgements(answer: Answered, found: Declined | None) -> list[TaskEvent]:
    """What was found of an answer, to be said with its use; ``found`` is what its check did, if it could."""
    known: list[TaskEvent] = []
    if SCHEMA in answer.scores:
        known.append(Evaluated(answer.backend, answer.call, answer.scores[SCHEMA], "schema"))
    if found is not None:
        known.append(Evaluated(answer.backend, answer.call, found.score, "cascade", found.reason))
    return known
