"""Where agents live: on one host at a time, on another when that is gone."""

import asyncio

from callboard.actors.agents.activation import Activation
from callboard.actors.agents.definition import agent
from callboard.actors.agents.host import Host
from callboard.bus.entities import AGENT, Entities
from callboard.bus.errors import Unavailable
from callboard.events.agent_events import Began, Taken


def worker(log, name="worker", steps=3, pause=0.0):
    """An agent whose steps tell ``log`` that they ran."""

    @agent(name)
    async def work(turn, _message):
        async def step(number):
            log.append(number)
            await asyncio.sleep(pause)
            return number

        return [await turn.run(f"step {number}", step, number) for number in range(steps)]

    return work


async def test_two_hosts_share_agents_and_none_lives_on_both(theatre):
    """Each message is handled once, by one host."""
    logs = [], []
    for log in logs:
        await theatre.host(worker(log))
    sent = [await theatre.board.send(f"worker/{n}", 0) for n in range(40)]
    for message in sent:
        await message.result(10)
    assert len(logs[0]) + len(logs[1]) == 40 * 3
    assert min(map(len, logs)) > 20


async def test_a_host_that_is_gone_is_replaced_and_done_steps_are_not_run_again(theatre):
    """The step that was under way runs again, marked as such; those before it do not."""
    first, second = [], []
    stopped = await theatre.host(worker(first, pause=0.2))
    message = await theatre.board.send("worker", 0)
    while len(first) < 2:
        await asyncio.sleep(0.01)
    stopped.cancel()
    await theatre.host(worker(second))
    assert await message.result(5) == [0, 1, 2]
    assert first + second == [0, 1, 1, 2]
    began = [event for event in await theatre.events("worker") if isinstance(event, Began)]
    assert began == [Began("step 0"), Began("step 1"), Began("step 1", 2), Began("step 2")]


async def test_a_host_that_another_has_taken_over_from_says_nothing_more(theatre):
    """What it did meanwhile is not in the log; when the other is gone it begins where the log stands."""
    log = []
    await theatre.host(worker(log, pause=0.1))
    message = await theatre.board.send("worker", 0)
    while not log:
        await asyncio.sleep(0.01)
    (taken,) = [event for event in await theatre.events("worker") if isinstance(event, Taken)]
    others = Entities(theatre.bus.log, AGENT, "other")
    await others.tell("worker", lambda _: [Taken(taken.message, "other", 2)])
    assert await message.result(10) == [0, 1, 2]
    assert log == [0, 0, 1, 2]
    events = await theatre.events("worker")
    assert [event.epoch for event in events if isinstance(event, Taken)] == [1, 2, 3]
    began = [event for event in events if isinstance(event, Began)]
    assert began == [Began("step 0"), Began("step 0", 2), Began("step 1"), Began("step 2")]


async def test_agents_move_to_a_new_host_between_messages(theatre):
    """With a second host about half of the agents live there from then on."""
    logs = [], []
    await theatre.host(worker(logs[0]))
    for n in range(20):
        await (await theatre.board.send(f"worker/{n}", 0)).result(5)
    assert len(logs[0]) == 60
    await theatre.host(worker(logs[1]))
    await asyncio.sleep(0.3)
    for n in range(20):
        await (await theatre.board.send(f"worker/{n}", 0)).result(5)
    assert len(logs[0]) + len(logs[1]) == 120
    assert 15 <= len(logs[1]) <= 45


async def test_a_host_serves_its_own_definitions_only(theatre):
    """Agents of two programs meet on one board."""
    asked, told = [], []

    @agent("boss")
    async def boss(turn, _message):
        return await turn.handoff("ask", "worker/1", 0)

    await theatre.host(worker(told))
    await theatre.host(boss)
    assert await (await theatre.board.send("boss", 0)).result(5) == [0, 1, 2]
    assert (asked, told) == ([], [0, 1, 2])


async def test_a_handler_may_be_changed_while_agents_are_at_work(theatre):
    """Steps that were added, renamed, put in another order or removed break nothing: all agents finish."""
    ran = []

    @agent("worker")
    async def before(turn, _message):
        for name in ("a", "b", "c"):
            await turn.run(name, ran.append, ("old", turn.agent, name))
            await turn.sleep(f"after {name}", 0.4)
        return "old"

    @agent("worker")
    async def after(turn, _message):
        for name in ("c", "new", "a"):
            await turn.run(name, ran.append, ("new", turn.agent, name))
        return "new"

    old = await theatre.host(before, rest_s=0.05)
    sent = [await theatre.board.send(f"worker/{n}", 0) for n in range(50)]
    await asyncio.sleep(0.3)
    old.cancel()
    await theatre.host(after, rest_s=0.05)
    answers = await asyncio.gather(*(message.result(10) for message in sent))
    assert answers == ["new"] * 50
    for n in range(50):
        mine = [(who, step) for who, name, step in ran if name == f"worker/{n}"]
        assert mine.count(("old", "a")) + mine.count(("new", "a")) == 1
        assert ("new", "new") in mine


async def test_what_was_said_after_what_the_log_refused_is_not_said_either(theatre, monkeypatch):
    """A step whose end could not be told is run again, before any that came after it."""
    log, append = [], theatre.bus.log.append
    trouble = 0

    async def unreliable(write, *, timeout_s=30.0):
        nonlocal trouble
        if b"stepped" in write.data and not trouble:
            trouble = 1
            raise Unavailable("no answer")
        return await append(write, timeout_s=timeout_s)

    monkeypatch.setattr(theatre.bus.log, "append", unreliable)

    @agent("worker")
    async def work(turn, _message):
        first = await turn.run("first", lambda: log.append("first") or len(log))
        await asyncio.sleep(0.05)  # so that it is known by now
        return [first, await turn.run("second", lambda: log.append("second") or len(log))]

    await theatre.host(work)
    assert await (await theatre.board.send("worker", 0)).result(5) == [2, 3]
    assert log == ["first", "first", "second"]


async def test_who_came_to_a_stop_here_is_taken_up_again(theatre, monkeypatch):
    """Whatever an agent stumbled over that is not its handler's: it is looked at again in a while."""
    monkeypatch.setattr("callboard.actors.agents.host.BROKEN_S", 0.1)
    monkeypatch.setattr("callboard.actors.agents.host.SWEEP_S", 0.1)
    log, failed = [], []
    attempt = Activation._attempt

    async def unlucky(self, agent, work):
        if not failed:
            failed.append(0)
            raise RuntimeError("out of luck")
        return await attempt(self, agent, work)

    monkeypatch.setattr(Activation, "_attempt", unlucky)
    await theatre.host(worker(log))
    assert await (await theatre.board.send("worker", 0)).result(5) == [0, 1, 2]


async def test_who_came_to_a_stop_is_not_forgotten_when_it_lives_elsewhere_by_then(theatre, monkeypatch):
    """The host that works at it goes on as long as it is there."""
    monkeypatch.setattr("callboard.actors.agents.host.SWEEP_S", 0.1)
    monkeypatch.setattr("callboard.actors.agents.host.RETRY_S", 0.5)
    logs, failed = ([], []), asyncio.Barrier(21)
    attempt, seen = Activation._attempt, set()

    async def unlucky(self, agent, work):
        if agent.id not in seen:
            seen.add(agent.id)
            await failed.wait()
            raise Unavailable("no answer")
        return await attempt(self, agent, work)

    async def broken(*_args, **_options):
        raise Unavailable("no answer")

    monkeypatch.setattr(Activation, "_attempt", unlucky)
    first = Host(theatre.bus, "x1", [worker(logs[0])])
    load = first._entities.load
    running = asyncio.create_task(first.run())
    await first.ready.wait()
    sent = [await theatre.board.send(f"worker/{n}", 0) for n in range(20)]
    await failed.wait()
    monkeypatch.setattr(first._entities, "load", broken)
    await theatre.host(worker(logs[1]))
    await asyncio.sleep(0.3)
    monkeypatch.setattr(first._entities, "load", load)
    assert await asyncio.gather(*(message.result(5) for message in sent)) == [[0, 1, 2]] * 20
    running.cancel()
