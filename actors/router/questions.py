"""How the router asks: the question becomes a task of its own, made once, and its answer is looked up."""

from datetime import datetime

import msgspec

from callboard.actors.claim_check import text_of
from callboard.actors.contexts import contexts_on
from callboard.actors.reading import prompt_of
from callboard.actors.router.asking import TAGS, Heard, advice_question, judge_question
from callboard.actors.router.route import Rules, View
from callboard.actors.router.step import Ask
from callboard.actors.submission import id_from, submit
from callboard.bus.entities import NEWEST, Entities
from callboard.bus.log import Bus
from callboard.events.envelope import Envelope
from callboard.events.task import Parked, Task
from callboard.events.task_spec import TaskSpec
from callboard.projections.tasks import Tasks


class Questions:
    """The questions that a router asks; ``tasks`` are the tasks as it changes them."""

    def __init__(self, bus: Bus, tasks: Entities[Task]) -> None:
        self._bus = bus
        self._tasks = tasks
        self._contexts = contexts_on(bus, tasks.source)

    async def ask(self, task: Task, ask: Ask, view: View, rules: Rules) -> None:
        """Submit the question, unless that was done already."""
        until = ask.parked.until
        assert task.spec is not None
        assert until is not None
        await submit(self._tasks, question_id(task, ask), await self._spec(task, ask, view, rules, until), None)

    async def heard(self, task: Task) -> Heard | None:
        """How the question stands that the task waits for."""
        if task.asking is None:
            return None
        question = (await self._tasks.load(task.asking.asks, at_least=NEWEST)).state
        done = question.completed
        output = done.output if done and isinstance(done.output, str) else ""
        return Heard(question.id, question.status, output, question.reason, question.charged)

    async def asker(self, question_id: str) -> str | None:
        """The task that a question is about."""
        spec = (await self._tasks.load(question_id)).state.spec
        return spec.parent if spec else None

    async def _spec(self, task: Task, ask: Ask, view: View, rules: Rules, until: datetime) -> TaskSpec:
        assert task.spec is not None
        asked = await self._asked(task.spec)
        if ask.answer is None:
            return advice_question(task, asked, ask.candidates, view.loads, rules.agent, until)
        answer = await text_of(self._bus, ask.answer.output)
        return judge_question(task, asked, answer, rules.cascade.judge, until)

    async def _asked(self, spec: TaskSpec) -> str:
        messages = await prompt_of(self._contexts, spec)
        before, turns = (messages[:1], messages[1:]) if spec.system else ((), messages)
        text = turns[0].content if len(turns) == 1 else "\n".join(f"{turn.role}: {turn.content}" for turn in turns)
        return "\n\n".join([*(message.content for message in before), text])


def parked(task: Task, ask: Ask) -> Parked:
    """The task, parked until its question is answered."""
    return msgspec.structs.replace(ask.parked, asks=question_id(task, ask))


def is_answer(envelope: Envelope, tasks: Tasks) -> bool:
    """Whether the event ended a question, as far as its tags tell."""
    row = tasks.ended.get(envelope.entity) if envelope.kind == "task" else None
    return row is not None and not TAGS.isdisjoint(row.tags)


def question_id(task: Task, ask: Ask) -> str:
    """The id of a question: the same whoever asks, and however often."""
    return id_from("judge" if ask.answer else "advice", task.id, str(ask.number), owner=task.id)
