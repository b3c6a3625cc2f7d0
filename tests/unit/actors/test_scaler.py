"""The scaler on a board in memory, and what routers make of a backend that is scaled to zero."""

import asyncio

import pytest
from golden.golden_logs import entities, read
from servers.callable_models import Answering

from callboard.actors.backend.worker import Worker
from callboard.actors.router import failure_detector
from callboard.actors.router.failure_detector import FailureDetector
from callboard.actors.router.standing import DEFAULT_START
from callboard.actors.scaling import scaler
from callboard.actors.scaling.decision import decide
from callboard.actors.scaling.scaler import Scaler
from callboard.bus.aggregates import BACKEND, unborn
from callboard.deploy.replicas import Replicas
from callboard.events.backend import Scaled
from callboard.events.envelope import decode
from callboard.events.errors import IllegalTransition
from callboard.events.scaling import Scaling
from callboard.events.task import Assigned, Status
from callboard.projections.backends import BACKENDS
from callboard.projections.load import LOAD

MS = 1_000_000
QUICK = Scaling(0, 3, 20 * MS, 0, 50 * MS, 200 * MS, 300 * MS)


@pytest.fixture(autouse=True)
def look_often(monkeypatch):
    """Every 20 ms instead of every second."""
    monkeypatch.setattr(scaler, "LOOK_S", 0.02)


async def scaled(stage, name: str = "a") -> list[Scaled]:
    return [each.event for each in await stage.envelopes("backend", name) if isinstance(each.event, Scaled)]


def replicas(stage, name: str = "a") -> int:
    return stage.projector.state(BACKENDS).by_id[name].replicas


async def until(holds) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.01)


async def test_up_and_down_and_to_zero_and_back(stage, say):
    """Replicas follow the load while tasks flow; each task is answered once, and every change says why."""
    await stage.register("a", concurrency=1, scaling=QUICK)
    working: list[int] = []

    def worker(name, number):
        return _Lasting(stage, name, number, working)

    running = Replicas({"a"}, stage.projector, worker)
    stage.run(running.run())
    stage.run(Scaler(stage.backends.by("scaler"), stage.projector).run())
    tasks = [await stage.board.submit(f"{number}") for number in range(60)]
    outcomes = [await task.result(20) for task in tasks]
    assert {outcome.status for outcome in outcomes} == {Status.COMPLETED}
    await until(lambda: replicas(stage) == 0)
    assert (await (await stage.board.submit("anybody there?")).result(20)).backend == "a"
    changes = await scaled(stage)
    numbers = [change.replicas for change in changes]
    assert max(numbers) == 3
    assert 0 in numbers
    assert numbers[-1] in {0, 1}
    assert all(change.reason and change.demand for change in changes[1:])
    assert len(working) == 61
    load = stage.projector.state(LOAD).backends["a"]
    assert load.start > 0
    await running.stop(1.0)


class _Lasting:
    """A worker whose calls take 10 ms, as `Replicas` run it."""

    def __init__(self, stage, name, number, working) -> None:
        async def say(request):
            working.append(number)
            await asyncio.sleep(0.01)
            return "done"

        source = f"backend/{name}/{number}/{id(self)}"
        self._worker = Worker(
            stage.bus, name, source, Answering(say), stage.tasks.by(source), stage.backends.by(source), stage.projector
        )
        self.run, self.drain, self.retire = self._worker.run, self._worker.drain, self._worker.retire


async def test_of_two_scalers_one_decides(stage):
    """Both see the same; what the one has said is within the other's cool-down."""
    await stage.register("a", concurrency=1, scaling=Scaling(1, 9, 20 * MS))
    for number in range(2):
        stage.run(Scaler(stage.backends.by(f"scaler#{number}"), stage.projector).run())
    for _ in range(40):
        await stage.board.submit("x")
    await until(lambda: replicas(stage) > 1)
    await asyncio.sleep(0.3)
    assert len(await scaled(stage)) == 1


async def test_one_that_sleeps_is_a_candidate_with_a_start_before_it(stage, say):
    """Its predicted latency says so, another that is up is preferred, and it keeps what only it can do."""
    await stage.register("a", concurrency=1, scaling=QUICK, capabilities=("chat", "rare"))
    await stage.change("a", Scaled(0))
    await stage.register("b", concurrency=1)
    stage.work("b", say("from b"))
    stage.rules = stage.rules.__class__(stage.rules.policies, default="fastest")
    stage.route()
    either = await stage.board.submit("x")
    assert (await either.result(5)).backend == "b"
    [decision] = [e.event.decision for e in await stage.envelopes("task", either.id) if isinstance(e.event, Assigned)]
    latency = dict(zip(decision.candidates.backends, decision.candidates.latencies, strict=True))
    assert latency["a"] > DEFAULT_START > latency["b"]
    only = await stage.board.submit("x", needs={"capabilities": ["rare"]})
    while (await only.state()).status is not Status.ASSIGNED:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert (await only.state()).status is Status.ASSIGNED
    stage.run(Scaler(stage.backends.by("scaler"), stage.projector).run())
    stage.work("a", say("from a"))
    assert (await only.result(5)).backend == "a"


async def test_by_hand_it_stays_at_zero(stage, say):
    """A person's 0 is no sleep: tasks are parked, whatever waits, until the backend is given back."""
    await stage.register("a", concurrency=1, scaling=QUICK)
    await stage.change("a", Scaled(0, "scaled by hand", held=True))
    stage.run(Scaler(stage.backends.by("scaler"), stage.projector).run())
    task = await stage.board.submit("x")
    while (await task.state()).status is not Status.PARKED:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert replicas(stage) == 0
    await stage.change("a", Scaled(0, "given back"))
    await until(lambda: replicas(stage) == 1)
    stage.work("a", say("x"))
    assert (await task.result(5)).backend == "a"


async def test_one_that_starts_is_not_taken_to_be_gone(stage, say, monkeypatch):
    """Nothing was heard of it for long, since it had no replicas: its silence counts anew when it is woken."""
    monkeypatch.setattr(failure_detector, "SILENCE_S", 0.1)
    monkeypatch.setattr(failure_detector, "CHECK_S", 0.02)
    monkeypatch.setattr(failure_detector, "START_S", 0.5)
    await stage.register("a", concurrency=1, scaling=QUICK)
    stage.run(FailureDetector(stage.bus, stage.backends.by("detector"), stage.projector).run())
    await asyncio.sleep(0.05)
    stage.work("a", say("x"))
    await (await stage.board.submit("x")).result(5)
    (worker,) = stage._running[-1:]
    worker.cancel()
    await stage.change("a", Scaled(0))
    await asyncio.sleep(0.25)
    await stage.board.submit("x")
    await stage.change("a", Scaled(1))
    await asyncio.sleep(0.25)
    assert "opened" not in await stage.events("backend", "a")
    await until(lambda: stage.projector.state(BACKENDS).by_id["a"].breaker == "open")


def test_what_was_decided_follows_from_what_was_seen():
    """Each change by load in the golden log is decided again the same, on the state before it."""
    state, decided = unborn(BACKEND, "slow").state, 0
    for record in read("scaling"):
        for envelope in decode(record.data) if ".backend.slow." in record.subject else []:
            event = envelope.event
            if isinstance(event, Scaled) and event.demand:
                assert decide(state, event.demand) == event
                decided += 1
            state = BACKEND.evolve(state, event)
    assert decided >= 4
    assert state == entities(read("scaling"))["backend"]["slow"].state


async def test_a_backend_that_cannot_be_read_does_not_stop_the_others(stage):
    """Trouble with one is said in the log lines, and the others are scaled."""
    await stage.register("a", scaling=Scaling(2, 3))
    await stage.register("b", scaling=Scaling(2, 3))
    original = stage.backends.tell

    async def tell(name, wish, **more):
        if name == "a":
            raise IllegalTransition("broken")
        return await original(name, wish, **more)

    stage.backends.tell = tell
    stage.run(Scaler(stage.backends, stage.projector).run())
    await until(lambda: replicas(stage, "b") == 2)
    assert replicas(stage, "a") == 1
