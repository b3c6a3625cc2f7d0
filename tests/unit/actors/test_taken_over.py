"""Work that was delivered again while its first worker was still at it: whoever has it now answers for it."""

import asyncio

import pytest


class Numb:
    """A bus whose deliveries can't be kept: what is taken by it is soon delivered again, to others."""

    def __init__(self, bus) -> None:
        self._bus = bus

    def __getattr__(self, name):
        return getattr(self._bus, name)

    async def queue(self, *args, **options):
        queue = await self._bus.queue(*args, **options)
        first = True
        deliveries = queue.deliveries

        async def once():
            nonlocal first
            async for delivery in deliveries():

                async def working() -> None:
                    """Nobody hears it."""

                delivery.working = working
                if first:
                    first = False
                    yield delivery
                else:
                    await asyncio.Event().wait()

        queue.deliveries = once
        return queue


@pytest.mark.parametrize("dies", [False, True], ids=["it finishes", "it dies"])
async def test_who_was_taken_over_does_not_acknowledge(stage, monkeypatch, dies):
    """The second worker may die all the same, and a third gets the work."""
    monkeypatch.setattr("callboard.actors.backend.worker.ACK_WAIT_S", 0.2)
    await stage.register("a")
    begun, go = asyncio.Queue(), asyncio.Event()

    async def say(_):
        begun.put_nowait(None)
        await go.wait()
        return "x"

    bus = stage.bus
    stage.bus = Numb(bus)
    stage.work("a", say, 0)
    stage.bus = bus
    handle = await stage.board.submit("x")
    await asyncio.wait_for(begun.get(), 5)
    stage.work("a", say, 1)
    second = stage._running[-1]
    await asyncio.wait_for(begun.get(), 5)
    while "spent" not in await stage.history(handle.id):
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)
    if dies:
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        stage.work("a", say, 2)
        await asyncio.wait_for(begun.get(), 5)
    go.set()
    assert (await handle.result(5)).output == "x "
    assert (await stage.history(handle.id)).count("started") == 2 + dies
