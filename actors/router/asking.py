"""Questions of the router's own, pure: small tasks for a model, whose answer a decision waits for.

They are pinned to a backend or go to the cheapest, never to the policy `agent` or `cascade`; they have a deadline, a
bound on the answer, the priority, the budget and the data policy of the task they are about, and their own tag in the
ledger. What a question holds is others' text: it can sway a choice among what was a choice anyway, and no more. Nothing
is learned from questions: that an answer fits the schema of one says nothing of how good its backend is at tasks.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, TypeVar

import msgspec
from msgspec import Struct

from callboard.events.task import PERFECT, Status, Task
from callboard.events.task_spec import Candidate, Needs, TaskSpec
from callboard.projections.load import BackendLoad

S = TypeVar("S", bound=Struct)

ADVICE_TAG: Final = "routing-advice"
JUDGE_TAG: Final = "cascade-judge"
TAGS: Final = frozenset({ADVICE_TAG, JUDGE_TAG})
LONGEST_TASK: Final = 4000
LONGEST_ANSWER: Final = 8000
LONGEST_WHY: Final = 160
MAX_TOKENS: Final = 500
MARKS: Final = 10
"""A judge gives from 0 to so many."""

_ADVISER: Final = (
    "You assign tasks to language models. Choose the model for the task below: one that is good enough for it, and"
    " among those a cheap and fast one. Answer in JSON: why, in a few words, and the model's name."
)
_JUDGE: Final = (
    "You judge an answer to a task. Be strict: is it correct, complete, and what was asked for? Answer in JSON: why, in"
    f" a few words, and your mark from 0 (worthless) to {MARKS} (could not be better)."
)


class AgentRules(Struct, frozen=True):
    """How the policy `agent` asks: which backend (None: the cheapest), and for how long it waits."""

    backend: str | None = None
    timeout_s: float = 10.0


class Heard(Struct, frozen=True):
    """What is known of the question ``id``: how it stands, its answer, what it cost in micro-dollars."""

    id: str
    status: Status
    output: str = ""
    reason: str = ""
    cost: int = 0


class Advice(Struct, frozen=True):
    """An adviser's answer."""

    backend: str
    why: str = ""


class Mark(Struct, frozen=True):
    """A judge's answer."""

    mark: int
    why: str = ""


def shortened(text: str, longest: int) -> str:
    """The beginning and the end of a long text."""
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half:,} characters left out …]\n{text[-half:]}"


def advice_question(
    task: Task,
    asked: str,
    candidates: Sequence[Candidate],
    loads: Mapping[str, BackendLoad],
    rules: AgentRules,
    until: datetime,
) -> TaskSpec:
    """Which of ``candidates`` should do the task, whose text is ``asked``?"""
    assert task.spec is not None
    models = "\n".join(_offer(each, loads.get(each.backend, BackendLoad())) for each in candidates)
    tags = f" (tags: {', '.join(task.spec.tags)})" if task.spec.tags else ""
    text = f"Models:\n{models}\n\nTask{tags}:\n{shortened(asked, LONGEST_TASK)}"
    names = {"type": "string", "enum": [c.backend for c in candidates]}
    return _question(task.spec, task, text, _ADVISER, {"backend": names}, ADVICE_TAG, rules.backend, until)


def _offer(candidate: Candidate, load: BackendLoad) -> str:
    return (
        f"- {candidate.backend}: quality {candidate.quality / PERFECT:.0%}, cost {candidate.cost} micro-dollars, "
        f"latency {candidate.latency / 1e9:.2f} s, {len(load.outstanding)} tasks waiting or under way"
    )


def judge_question(task: Task, asked: str, answer: str, backend: str | None, until: datetime) -> TaskSpec:
    """How good is ``answer`` to the task whose text is ``asked``?"""
    assert task.spec is not None
    text = f"Task:\n{shortened(asked, LONGEST_TASK)}\n\nAnswer:\n{shortened(answer, LONGEST_ANSWER)}"
    marks = {"type": "integer", "enum": list(range(MARKS + 1))}
    return _question(task.spec, task, text, _JUDGE, {"mark": marks}, JUDGE_TAG, backend, until)


def advised(heard: Heard, candidates: Sequence[str]) -> Advice | str:
    """The advice in an ended question, or why there is none."""
    advice = _read(heard, Advice)
    if isinstance(advice, str):
        return advice
    if advice.backend not in candidates:
        return f"advice for {advice.backend[:64]!r}, which was no candidate"
    return Advice(advice.backend, advice.why[:LONGEST_WHY])


def marked(heard: Heard) -> Mark | str:
    """The mark in an ended question, or why there is none."""
    mark = _read(heard, Mark)
    if isinstance(mark, str):
        return mark
    if not 0 <= mark.mark <= MARKS:
        return f"a mark of {mark.mark}, not from 0 to {MARKS}"
    return Mark(mark.mark, mark.why[:LONGEST_WHY])


def _read(heard: Heard, shape: type[S]) -> S | str:
    if heard.status is not Status.COMPLETED:
        return f"no answer, the question is {heard.status}: {heard.reason}"[:LONGEST_WHY]
    try:
        return msgspec.json.decode(heard.output.encode(), type=shape)
    except (msgspec.MsgspecError, UnicodeEncodeError) as error:
        return f"an answer that is not valid: {error}"[:LONGEST_WHY]


def _question(
    spec: TaskSpec,
    task: Task,
    text: str,
    system: str,
    wanted: dict[str, Any],
    tag: Literal["routing-advice", "cascade-judge"],
    backend: str | None,
    until: datetime,
) -> TaskSpec:
    """A question about a task; what it may cost comes out of what the task may still cost."""
    why = {"why": {"type": "string", "maxLength": LONGEST_WHY}}
    schema = {
        "type": "object",
        "properties": why | wanted,
        "required": [*why, *wanted],
        "additionalProperties": False,
    }
    return TaskSpec(
        text,
        system=system,
        needs=Needs(data_policy=spec.needs.data_policy),
        max_tokens=MAX_TOKENS,
        schema=schema,
        max_cost=None if spec.max_cost is None else max(spec.max_cost - task.charged, 0),
        deadline=min(until, spec.deadline) if spec.deadline else until,
        priority=spec.priority,
        policy="cheapest",
        backend=backend,
        tags=(tag,),
        budget=spec.budget,
        owner=spec.owner,
        parent=task.id,
        private=spec.private,
    )
