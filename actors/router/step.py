"""What to do next with a task that waits, pure: ask somebody first, wait for what they say, or decide."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeAlias

from msgspec import Struct

from callboard.actors.checks import JUDGE
from callboard.actors.router.asking import MARKS, Heard, advised, marked
from callboard.actors.router.cascade import best_declined, completed_with, judgements, unjudged
from callboard.actors.router.policies.agent import Agent
from callboard.actors.router.route import Rules, Verdict, View, route
from callboard.events.advice import Advised
from callboard.events.cascade import Answered, Declined
from callboard.events.task import ENDED, PERFECT, Assigned, Completed, Parked, Task, TaskEvent, evolve
from callboard.events.task_spec import Candidate


class Ask(Struct, frozen=True):
    """Park the task, and ask: how good ``answer`` is, or which of ``candidates`` to choose.

    ``number`` tells this question from others about the task; until when it has to be answered, ``parked`` says.
    """

    parked: Parked
    number: int
    answer: Answered | None = None
    candidates: tuple[Candidate, ...] = ()


Decide: TypeAlias = Callable[..., Verdict | None]
"""What decides on a task: `route`, or `route` with the money for it, which is None when that has to be had first."""


def step(
    task: Task, view: View, rules: Rules, now: datetime, seed: int, heard: Heard | None, decide: Decide = route
) -> list[TaskEvent] | Ask:
    """The events to append, or what to ask before. ``heard`` is the question that the task waits for, as it stands."""
    if answer := unjudged(task):
        return _judge(task, answer, rules, now, heard)
    verdict = decide(task, view, rules, now, seed)
    if verdict is None:
        return []
    if isinstance(verdict, Assigned) and _wants_advice(task, rules):
        options = verdict.decision.candidates.able
        if len(options) > 1:
            return _seek_advice(task, options, view, rules, now, seed, heard, decide)
    best = best_declined(task)
    if isinstance(verdict, Completed) and best:
        return [verdict, *judgements(*best)]
    return [verdict]


def may_ask(task: Task, rules: Rules) -> bool:
    """Whether `step` could want to ask something about the task."""
    return not task.asking and (unjudged(task) is not None or _wants_advice(task, rules))


def _wants_advice(task: Task, rules: Rules) -> bool:
    """Once for each task: what to do after a failure is for the fallback to say."""
    assert task.spec is not None
    policy = rules.policies.get(task.spec.policy or rules.default)
    return isinstance(policy, Agent) and task.advice is None and not task.tries


def _seek_advice(
    task: Task,
    options: tuple[Candidate, ...],
    view: View,
    rules: Rules,
    now: datetime,
    seed: int,
    heard: Heard | None,
    decide: Decide,
) -> list[TaskEvent] | Ask:
    if task.asking is None:
        parked = _parked(f"asking {rules.agent.backend or 'the cheapest'} for advice", rules.agent.timeout_s, now)
        return Ask(parked, task.attempt, candidates=options)
    if _under_way(task, now, heard):
        return _wait(task)
    told = advised(heard, [each.backend for each in options]) if heard else "no answer in time"
    if isinstance(told, str):
        advice = Advised(task.asking.asks, f"no advice: {told}")
    else:
        advice = Advised(task.asking.asks, told.why, told.backend)
    verdict = decide(evolve(task, advice), view, rules, now, seed)
    return [] if verdict is None else [advice, verdict]


def _judge(task: Task, answer: Answered, rules: Rules, now: datetime, heard: Heard | None) -> list[TaskEvent] | Ask:
    if task.asking is None:
        cascade = rules.cascade
        parked = _parked(f"asking {cascade.judge or 'the cheapest'} to judge", cascade.judge_timeout_s, now)
        return Ask(parked, answer.call, answer=answer)
    if _under_way(task, now, heard):
        return _wait(task)
    completed = completed_with(answer)
    told = marked(heard) if heard else "no answer in time"
    if isinstance(told, str):  # an answer that can't be judged is used: that it is bad, nobody knows
        return [completed, *judgements(answer, None)]
    cost = heard.cost if heard else 0
    found = Declined(answer.backend, answer.call, told.mark * PERFECT // MARKS, told.why, cost)
    if found.score < rules.cascade.checks[JUDGE].accept:
        return [found]
    return [completed, *judgements(answer, found)]


def _parked(reason: str, timeout_s: float, now: datetime) -> Parked:
    return Parked(reason, now + timedelta(seconds=timeout_s))


def _under_way(task: Task, now: datetime, heard: Heard | None) -> bool:
    assert task.asking is not None
    if heard is None or heard.id != task.asking.asks:
        return task.asking.until is not None and now < task.asking.until
    return heard.status not in ENDED and task.asking.until is not None and now < task.asking.until


def _wait(task: Task) -> list[TaskEvent]:
    """Parked as it is, or again if something woke it."""
    assert task.asking is not None
    return [] if task.parked == task.asking else [task.asking]
