"""The demo's run: every question is submitted at once, and each answer is judged and told as it comes."""

import asyncio
import time
from collections.abc import Callable, Sequence

import msgspec

from callboard.actors.task_handle import TaskFailed, TaskHandle
from callboard.deploy.demo.questions import Question, correct
from callboard.deploy.demo.summary import Offer, Result, Summary, summarise
from callboard.deploy.node import Node
from callboard.projections.backends import BACKENDS
from callboard.projections.cost import COST


async def play(node: Node, questions: Sequence[Question], big: str, told: Callable[[str, Result], None]) -> Summary:
    """Ask all ``questions``; ``told`` gets each task's id and result as it ends. ``big`` is compared against."""
    before = node.projector.state(COST)
    began = time.monotonic_ns()
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(_ask(node, question, told)) for question in questions]
    duration = time.monotonic_ns() - began
    await node.projector.reached(await node.bus.log.end())
    spent = node.projector.state(COST).total
    backends = node.projector.state(BACKENDS).by_id
    offers = {
        name: Offer(backend.spec.provider, backend.spec.model, backend.price, backend.spec.concurrency)
        for name, backend in backends.items()
        if backend.spec
    }
    return summarise(
        [each.result() for each in asked],
        offers,
        big,
        duration,
        calls=spent.calls - before.total.calls,
        wasted=spent.wasted - before.total.wasted,
    )


async def _ask(node: Node, question: Question, told: Callable[[str, Result], None]) -> Result:
    task: TaskHandle = await node.board.submit(**msgspec.to_builtins(question.spec()))
    try:
        outcome = await task.result()
    except TaskFailed as failed:
        outcome = failed.outcome
    verdict = correct(question, str(outcome.output)) if outcome.output is not None else None
    if verdict is not None:
        await task.evaluate(1.0 if verdict else 0.0, source="test", note="the demo's own check")
    result = Result(question.kind.name, outcome, verdict)
    await node.projector.reached(await node.bus.log.end())  # the table shows what the projections know of it
    told(task.id, result)
    return result
