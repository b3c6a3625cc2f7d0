"""The notary: signs what the log holds, once each, whatever stops it."""

import asyncio

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from generators.audit_stories import KEY, OPTIONS
from structlog.testing import capture_logs

from callboard.actors.auditor import audit
from callboard.actors.notary import Notary
from callboard.bus.entities import BACKEND, Entities
from callboard.bus.memory import MemoryBus
from callboard.events.backend import BackendSpec, Drained, Registered, Resumed
from callboard.events.checkpoint import decode_checkpoint


class Office:
    """A bus, and notaries on it."""

    def __init__(self) -> None:
        self.bus = MemoryBus()
        self._backends = Entities(self.bus.log, BACKEND, "test")
        self._running: dict[Notary, asyncio.Task[None]] = {}

    async def events(self, number: int) -> None:
        """So many messages."""
        state = (await self._backends.load("a")).state
        for _ in range(number):
            event = Registered(BackendSpec("callable", "m")) if state.spec is None else Drained("x")
            event = Resumed() if state.draining else event
            state = (await self._backends.tell("a", lambda _, event=event: [event])).entity.state

    def notary(self, every: int = 10, interval_s: float = 60.0, key: Ed25519PrivateKey = KEY) -> Notary:
        notary = Notary(self.bus, key, every=every, interval_s=interval_s)
        self._running[notary] = asyncio.create_task(notary.run())
        return notary

    async def stop(self, notary: Notary, *, kill: bool = False) -> None:
        task = self._running.pop(notary)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if not kill:
            await notary.close()

    async def close(self) -> None:
        for notary in list(self._running):
            await self.stop(notary, kill=True)

    async def sizes(self) -> list[int]:
        return [decode_checkpoint(each.data).size for each in await self.bus.checkpoints.read()]

    async def until(self, number: int) -> None:
        """Until there are so many checkpoints."""
        async with asyncio.timeout(10):
            while len(await self.sizes()) < number:
                await asyncio.sleep(0.001)


@pytest.fixture
async def office():
    office = Office()
    yield office
    await office.close()


async def test_it_signs_every_so_many_messages_and_at_its_end(office):
    """And the audit finds that all is as it was signed."""
    notary = office.notary()
    await office.events(25)
    await office.until(2)
    await office.stop(notary)
    assert await office.sizes() == [10, 20, 25]
    report = await audit(office.bus, OPTIONS)
    assert (report.result, report.checked.covered) == ("clean", 25)


async def test_it_signs_news_after_a_while(office):
    """And nothing while there are none."""
    office.notary(every=1000, interval_s=0.01)
    await office.events(3)
    await office.until(1)
    await asyncio.sleep(0.05)
    sizes = await office.sizes()
    assert sizes[-1] == 3
    assert len(sizes) <= 3


async def test_it_goes_on_from_the_last_checkpoint(office):
    """Also when it was killed; what was not signed then is signed later."""
    notary = office.notary()
    await office.events(15)
    await office.until(1)
    await office.stop(notary, kill=True)
    await office.events(20)
    notary = office.notary()
    await office.until(3)
    await office.stop(notary)
    assert await office.sizes() == [10, 20, 30, 35]
    assert (await audit(office.bus, OPTIONS)).checked.covered == 35


async def test_two_notaries_never_fork_the_chain(office):
    """Whoever is second goes on from what the first has signed."""
    notaries = [office.notary(every=5, interval_s=0.002) for _ in range(3)]
    for _ in range(30):
        await office.events(7)
        await asyncio.sleep(0.001)
    await asyncio.gather(*map(office.stop, notaries))
    sizes = await office.sizes()
    assert sizes == sorted(set(sizes))
    report = await audit(office.bus, OPTIONS)
    assert (report.result, report.checked.covered) == ("clean", 210)


async def test_it_does_not_go_on_from_what_another_key_signed(office):
    """It says what to do, and leaves the chain alone."""
    notary = office.notary()
    await office.events(10)
    await office.stop(notary)
    with capture_logs() as logs:
        other = office.notary(key=Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
        await office.events(20)
        await asyncio.sleep(0.05)
        await office.stop(other)
    assert "the same key" in logs[0]["error"]
    assert await office.sizes() == [10]


async def test_it_notices_that_what_was_signed_is_gone(office):
    """A log that is shorter than what was signed is never signed again."""
    notary = office.notary()
    await office.events(20)
    await office.until(2)
    await office.stop(notary)
    office.bus._server.stream._records[15:] = []
    with capture_logs() as logs:
        again = office.notary()
        await asyncio.sleep(0.05)
        await office.stop(again)
    assert "20 messages were signed, and the log has 15" in logs[0]["error"]
    assert (await audit(office.bus, OPTIONS)).counts["cut"] == 1
