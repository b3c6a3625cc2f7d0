"""What is private is audited by what everybody may know of it: nothing of it is taken for unlawful."""

from generators.lawful import unlawful

from callboard.actors.board import Board
from callboard.bus.memory import MemoryBus
from callboard.events.approval import Approved
from callboard.events.context import Drop, Put, Say


async def test_a_private_context_is_lawful():
    """Values that look the same without their key may differ; what was forgotten stays lawful."""
    bus = MemoryBus()
    board = Board(bus, "test")
    diary = board.context("diary", private="ann")
    for value in (1, 2, 2, 1):
        await diary.put("step", value)
    await diary.change(Put("step", 3), Put("step", 4), Say("user", "so"), Say("user", "no"))
    await diary.drop("step")
    branch = await diary.fork("branch")
    await branch.put("step", 5)
    await diary.put("step", 6)
    await diary.change(Drop("none"), Say("user", "it"))
    await diary.merge(branch, prefer="theirs")
    await diary.compact(0, 1, "short")
    assert unlawful(bus) == []
    await board.forget("ann", by="clerk")
    await board.context("diary").read()
    assert unlawful(bus) == []


async def test_a_private_approval_is_lawful():
    """The hash of its action is private as well."""
    bus = MemoryBus()
    board = Board(bus, "test")
    asked = await board.ask({"call": "ann"}, question="Call?", private="ann")
    requested = (await board.approvals.state(asked.id)).requested
    await board.approvals.answer(asked.id, Approved(requested.hash, "bob"))
    await board.ask({"call": "ann"}, question="Again?", private="ann")
    await board.forget("ann", by="clerk")
    assert unlawful(bus) == []
