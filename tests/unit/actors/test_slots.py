"""Who gets the next call."""

import asyncio

import pytest

from callboard.actors.backend.slots import Slots
from callboard.actors.loop import Later


async def use(slots: Slots, priority: int, age: int, order: list[int]) -> None:
    async with slots.slot(priority, age):
        order.append(age)
        await asyncio.sleep(0)


async def test_the_highest_priority_is_next_and_then_the_oldest():
    """Whoever waits is served in this order, whenever they came."""
    slots, order = Slots(1), []
    async with slots.slot(0, 0):
        waiting = [
            asyncio.create_task(use(slots, priority, age, order)) for priority, age in ((0, 4), (9, 3), (0, 1), (9, 2))
        ]
        await asyncio.sleep(0.01)
    await asyncio.gather(*waiting)
    assert order == [2, 3, 1, 4]


async def test_no_more_than_there_are():
    """However many want one."""
    slots, held, most = Slots(3), 0, 0

    async def hold(age: int) -> None:
        nonlocal held, most
        async with slots.slot(age % 2, age):
            held += 1
            most = max(most, held)
            await asyncio.sleep(0.001)
            held -= 1

    await asyncio.gather(*(hold(age) for age in range(30)))
    assert most == 3


async def test_a_slot_is_not_lost_with_who_waited_for_it():
    """One that was cancelled while waiting, or at the moment it was its turn, hands the slot on."""
    slots, order = Slots(1), []
    async with slots.slot(0, 0):
        gone = asyncio.create_task(use(slots, 9, 1, order))
        late = asyncio.create_task(use(slots, 5, 2, order))
        last = asyncio.create_task(use(slots, 0, 3, order))
        await asyncio.sleep(0.01)
        gone.cancel()
    late.cancel()  # it is its turn, and it does not know yet
    await asyncio.wait_for(last, 1)
    assert order == [3]
    async with asyncio.timeout(1), slots.slot(0, 4):
        """It is free again."""


async def test_when_closed_nobody_waits():
    """Whoever holds a slot keeps it; who waits, or comes, is told to try elsewhere."""
    slots = Slots(1)
    async with slots.slot(0, 0):
        waiting = asyncio.create_task(use(slots, 9, 1, []))
        await asyncio.sleep(0.01)
        slots.close()
        with pytest.raises(Later):
            await waiting
    with pytest.raises(Later):
        await use(slots, 9, 2, [])
