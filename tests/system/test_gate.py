"""The gate with real processes over a real nats-server, which lets a backend do no more than it needs."""

import asyncio
import random
import signal
from collections import Counter
from contextlib import asynccontextmanager, suppress

import pytest
from generators.task_histories import books
from servers import nats_binary
from servers.nats_with_users import NatsWithUsers, nats_with_users, url
from servers.working_directory import COMMAND, ENVIRON

from callboard.actors.outcome import Outcome
from callboard.bus import plain
from callboard.bus.entities import BACKEND, Entities
from callboard.bus.errors import BusError
from callboard.bus.jetstream import connect
from callboard.bus.subjects import ALL_EVENTS, tokens
from callboard.deploy.fleet import register
from callboard.deploy.node import Node
from callboard.deploy.settings import Backend, Nats, Settings, Telemetry
from callboard.events.envelope import decode, short_type
from callboard.events.money import Price
from callboard.events.task import Completed, Started
from callboard.projections.cost import COST

MODEL = """
import asyncio


async def answer(request):
    text = request.messages[-1].content
    if text.startswith("slow"):
        for _ in range(10):
            yield "."
            await asyncio.sleep(0.1)
    yield text.upper()
"""
FAR = '[backends.far]\nprovider = "callable"\nfunction = "far_model:answer"\n'
ROLES = ("intake", "router", "timekeeper", "gate")


def settings(port: int, folder) -> Settings:
    price = Price(1_000_000, 1_000_000)
    far = Backend(provider="callable", function="far_model:answer", price=price, context=10_000_000, workers="remote")
    return Settings(
        data=str(folder),
        nats=Nats(url=url(port, "operator"), fsync="100ms"),
        backends={"far": far},
        telemetry=Telemetry(traces="off"),
    )


class Process:
    """`callboard up` for the gate alone, or for the calls of the backend ``far``, beyond it."""

    def __init__(self, folder, port: int, role: str) -> None:
        (folder / "far_model.py").write_text(MODEL)
        (folder / "callboard.toml").write_text(FAR)
        self._folder = folder
        user = "operator" if role == "gate" else "far"
        self._args = ("up", "--role", role, "--url", url(port, user), "--json")
        self._args += () if role == "gate" else ("--through-gate",)

    async def start(self) -> None:
        with (self._folder / "up.err").open("ab") as errors:
            self._process = await asyncio.create_subprocess_exec(
                *COMMAND, *self._args, cwd=self._folder, env=ENVIRON, stdout=asyncio.subprocess.PIPE, stderr=errors
            )
        assert await self._process.stdout.readline(), (self._folder / "up.err").read_text()

    async def end(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return await self._process.wait()

    async def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


@asynccontextmanager
async def running(*processes: Process):
    try:
        await asyncio.gather(*(process.start() for process in processes))
        yield
    finally:
        await asyncio.gather(*(process.kill() for process in processes))


def node_at(port: int, folder, roles=ROLES) -> Node:
    return Node(settings(port, folder), roles=roles, environ={"CALLBOARD_MASTER_KEY": "00" * 32})


async def history(bus, task: str) -> list[str]:
    records = [record async for batch in bus.log.read_all() for record in batch]
    told = [envelope for record in records for envelope in decode(record.data)]
    return [short_type(envelope.event) for envelope in told if envelope.entity == task]


async def until(bus, task: str, event: str) -> None:
    async with asyncio.timeout(20):
        while event not in await history(bus, task):
            await asyncio.sleep(0.02)


async def test_a_backend_works_with_no_rights_but_to_talk_to_the_gate(tmp_path, monkeypatch):
    """Short and large, streamed, cancelled, private, paid from a budget; killed, its call is made by another."""
    await nats_binary.needed()
    monkeypatch.setattr("callboard.actors.gate.guest.SILENT_S", 1.5)
    async with nats_with_users(tmp_path, "far") as nats, node_at(nats.port, tmp_path) as node:
        board = node.board
        far = Process(tmp_path, nats.port, "backend:far")
        async with running(far):
            handle = await board.submit("hello")
            heard = [text async for text in handle.stream()]
            assert (await handle.result(20)).output == "".join(heard) == "HELLO"
            large = await board.submit("x" * 2_000_000)
            secret = await board.submit("secret", private="ann")
            await board.set_budget("team", limit=10_000_000)
            paid = await board.submit("paid", budget="team")
            assert (await large.result(20)).output.size == 2_000_000
            assert (await secret.result(20)).output == "SECRET"
            assert (await paid.result(20)).cost > 0
            slow = await board.submit("slow 1")
            await until(node.bus, slow.id, "started")
            await slow.cancel()
            await until(node.bus, slow.id, "spent")
            lost = await board.submit("slow 2")
            await until(node.bus, lost.id, "started")
            await far.kill()
            await far.start()
            assert (await lost.result(30)).output.endswith("SLOW 2")
            told = await history(node.bus, lost.id)
            assert told == ["submitted", "assigned", "started", "interrupted", "started", "completed"]
            last = await board.submit("slow 3")
            await until(node.bus, last.id, "started")
            assert await far.end() == 0
            assert await history(node.bus, last.id) == ["submitted", "assigned", "started", "completed"]


async def test_its_key_opens_nothing_else(tmp_path):
    """It hears neither the log, nor other backends, nor anybody's answers; nobody hears it but at its own gate."""
    await nats_binary.needed()
    async with nats_with_users(tmp_path, "far") as nats, node_at(nats.port, tmp_path) as node:
        with pytest.raises(BusError):
            await connect(url(nats.port, "far"), timeout_s=0.5)
        bus, heard, leaked = await plain.connect(url(nats.port, "far")), [], []

        async def hear(note):
            heard.append(note.subject)

        async def leak(note):
            leaked.append(note.subject)

        for subject in (">", ALL_EVENTS, "told.near.>", "told.>", "_INBOX.>", "$JS.>", "hb.>", "tok.>", "submit.>"):
            with suppress(BusError):
                await bus.signals.subscribe(subject, hear)
        forbidden = ("gate.near.hello", "evt.1.task.x.completed", tokens("x"), "hb.far.1", "submit.task", "forget.ann")
        for subject in forbidden:
            await node.bus.signals.subscribe(subject, leak)
            await bus.signals.publish(subject, b"{}")
        inbox = bus.signals.inbox()
        await bus.signals.publish("$JS.API.STREAM.INFO.EVENTS", b"", reply=inbox)
        await bus.signals.publish("$JS.API.DIRECT.GET.EVENTS", b'{"seq":1}', reply="told.far.x")
        await node.bus.signals.publish("told.near.x", b"for another")
        await node.board.submit("not for far")
        await asyncio.sleep(0.2)
        assert not heard
        assert not leaked
        await bus.aclose()


async def survived(node: Node, cast: list[Process | NatsWithUsers], dice: random.Random) -> list[Outcome]:
    """What came of 100 tasks while one process after another was killed, and all is told."""
    handles = [await node.board.submit(f"{dice.choice(('slow', 'quick'))} {number}") for number in range(100)]
    ends = asyncio.gather(*(handle.result(100) for handle in handles))
    for _ in range(8):
        await asyncio.sleep(dice.uniform(0.1, 1.0))
        each = dice.choice(cast)
        await each.kill()
        await each.start()
    outcomes = await ends
    async with asyncio.timeout(20):
        while node.projector.state(COST).running:
            await asyncio.sleep(0.1)
    return outcomes


@pytest.mark.chaos
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.timeout(120)
async def test_nothing_is_lost_and_nothing_done_twice(tmp_path, seed):
    """100 tasks while gates, processes beyond them and nats-server are killed -9, one after another."""
    await nats_binary.needed()
    dice = random.Random(seed)
    async with nats_with_users(tmp_path, "far") as nats, node_at(nats.port, tmp_path, ROLES[:-1]) as node:
        await register(settings(nats.port, tmp_path).backends, Entities(node.bus.log, BACKEND, "operator"), {})
        cast = [Process(tmp_path, nats.port, role) for role in ("gate", "gate", "backend:far", "backend:far")]
        async with running(*cast):
            outcomes = await survived(node, [*cast, nats], dice)
        await node.projector.reached(await node.bus.log.end())
        records = [record async for batch in node.bus.log.read_all() for record in batch]
        told = [envelope for record in records for envelope in decode(record.data)]
        completed = Counter(each.entity for each in told if isinstance(each.event, Completed))
        assert len(completed) == 100
        assert set(completed.values()) == {1}
        booked = Counter((each.entity, each.event.call) for each in told if books(each.event))
        assert set(booked.values()) == {1}
        started = {f"{each.entity}/{each.event.call}" for each in told if isinstance(each.event, Started)}
        unknown = set(node.projector.state(COST).unknown)
        assert {f"{task}/{call}" for task, call in booked} | unknown == started
        assert sum(outcome.cost for outcome in outcomes) <= node.projector.state(COST).total.cost
        assert not node.projector.state(COST).running
