"""What happens while a golden log is recorded: as much as a real node and real hosts can be made to tell."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import golden_models
import nats
from msgspec.structs import replace

import callboard
from callboard.actors.agents import activation
from callboard.actors.agents.host import Host
from callboard.bus.log import Bus
from callboard.bus.server import EmbeddedServer
from callboard.deploy.node import Node
from callboard.deploy.settings import Agent, Backend, Cascade, Check, Nats, Privacy, Router, Settings, Telemetry
from callboard.events.approval import Approved, Denied
from callboard.events.backend import Drained, Removed, Resumed, Scaled
from callboard.events.errors import IllegalTransition
from callboard.events.money import Price
from callboard.events.scaling import Scaling
from callboard.events.task import Cancelled, Requeued
from callboard.projections.backends import BACKENDS


def model(name: str, price: int = 0, **options) -> Backend:
    return Backend(provider="callable", function=f"golden_models:{name}", price=Price(price, 2 * price), **options)


def settings(folder: Path, url: str, **backends: Backend) -> Settings:
    return Settings(
        data=str(folder),
        nats=Nats(url=url),
        router=Router(
            hedge_percent=50, agent=Agent(backend="judge", fallback="cheapest"), cascade=Cascade(check="is_long")
        ),
        telemetry=Telemetry(traces="off"),
        checks={"is_long": Check(function="golden_models:is_long")},
        backends=backends,
    )


async def tasks(folder: Path, server: EmbeddedServer) -> None:
    """Tasks that end in every way, scores, cascades, advice, hedges, a breaker, schedules."""
    backends = {
        "curt": model("curt", 1_000_000, capabilities=("chat", "work"), tier="small"),
        "chatty": model("chatty", 10_000_000, capabilities=("chat", "work"), tier="frontier"),
        "judge": model("judges", 1, capabilities=("chat", "schema")),
        "slow": model("slow", 1, capabilities=("slow",)),
        "broken": model("broken", 1, capabilities=("broken",)),
        "steady": model("steady", 1, capabilities=("steady",)),
        "stand-by": model("steady", 1, capabilities=("steady",)),
    }
    work = {"needs": {"capabilities": ["work"]}}
    async with Node(settings(folder, server.url, **backends)) as node:
        board = node.board
        await (await board.submit("tell me", policy="cascade", check="is_long", **work)).result(30)
        for number in range(3):
            task = await board.submit(f"plain {number}", tags=["plain"], priority=number, **work)
            await task.result(30)
            await task.evaluate(0.25 + number / 4, source="user", note="so so")
        for number in range(12):
            await (await board.submit(f"learn {number}", policy="adaptive", **work)).result(30)
        await (await board.submit("where to?", policy="agent", **work)).result(30)
        await hedges(node)
        await ends(node)
        await breaker(node)
        await from_outside(node.url)
        await schedules(node)
        await board.change("slow", Scaled(2, "more to do"))
        await board.change("slow", Drained("for a while"))
        await board.change("slow", Resumed())
        unfinished = await board.submit("for ever", needs={"capabilities": ["slow"]})
        await started(node, unfinished.id)
        await node.stop(0.0)
    del backends["stand-by"]
    async with Node(settings(folder, server.url, **backends)) as again:
        await asyncio.sleep(4)  # the call under way is taken over
        await again.board.end(unfinished.id, Cancelled("enough"))
        await asyncio.sleep(0.5)
        await again.board.change("stand-by", Removed())


async def started(node: Node, task_id: str) -> None:
    await reached(node, task_id, "started")


async def reached(node: Node, task_id: str, status: str) -> None:
    while (await node.board.tasks.load(task_id, at_least=2**63)).state.status != status:
        await asyncio.sleep(0.02)


async def hedges(node: Node) -> None:
    """A call that is late is made on another backend as well."""
    needs = {"capabilities": ["steady"]}
    for number in range(60):
        await (await node.board.submit(f"usual {number}", needs=needs)).result(30)
    for number in range(3):
        golden_models.stalls.add(f"late {number}")
        await (await node.board.submit(f"late {number}", needs=needs)).result(30)
    await asyncio.sleep(0.3)


async def ends(node: Node) -> None:
    """Cancelled, expired, given up and begun anew, not to be done at all."""
    board, slow = node.board, {"needs": {"capabilities": ["slow"]}}
    running = await board.submit("for ever", **slow)
    await started(node, running.id)
    await board.end(running.id, Cancelled("enough"))
    waiting = await board.submit("later", delay_s=600, **slow)
    await board.end(waiting.id, Cancelled())
    expiring = await board.submit("for ever", timeout_s=0.3, **slow)
    await outcome(expiring)
    dead = await board.submit("never", needs={"capabilities": ["broken"]})
    await outcome(dead)
    await board.end(dead.id, Requeued())
    await outcome(dead)
    await outcome(await board.submit("x", needs={"capabilities": ["flight"]}, timeout_s=1))


async def outcome(task: callboard.TaskHandle) -> None:
    with suppress(callboard.TaskFailed):
        await task.result(60)


async def breaker(node: Node) -> None:
    """A backend fails until it is left alone, is tried again, and is well."""
    needs = {"capabilities": ["broken"]}
    failing = [await node.board.submit(f"try {number}", needs=needs, timeout_s=8) for number in range(6)]
    await asyncio.sleep(1)
    recovering = [await node.board.submit(f"recover {number}", needs=needs) for number in range(3)]
    await asyncio.gather(*map(outcome, [*failing, *recovering]))


async def from_outside(url: str) -> None:
    """Submissions and scores by plain messages; wrong ones are rejected."""
    client = await nats.connect(url)
    done = json.loads((await client.request("submit.task", b'{"input": "plain", "backend": "curt"}', 30)).data)
    score = {"task": done["task"], "score": 0.9, "source": "test", "note": "as wanted"}
    await client.request("submit.score", json.dumps(score).encode(), 30)
    await client.request("submit.task", b'{"inputt": "wrong"}', 30)
    await client.request("submit.task", b"{", 30)
    await client.close()


async def schedules(node: Node) -> None:
    await node.board.schedule("tick", "* * * * * *", "tick tock", backend="curt", tags=["often"])
    await node.board.schedule("weekly", "0 9 * * 1", "summary", zone="Europe/Lisbon")
    await asyncio.sleep(2.5)
    await node.board.schedules.remove("tick", "enough ticking")


async def money(folder: Path, server: EmbeddedServer) -> None:
    """Budgets in a tree: kept, degraded, asked for, stopped at; a lease that was not needed; an untold cost."""
    backends = {
        "cheap": model("echo", 10_000),
        "dear": model("chatty", 2_000_000, tier="frontier"),
        "slow": model("slow", 10_000, capabilities=("slow",), concurrency=1),
    }
    async with Node(settings(folder, server.url, **backends)) as node:
        board = node.board
        await board.set_budget("org", limit=5_000_000, on_breach="ask")
        await board.set_budget("team", limit=5_000, parent="org", on_breach="degrade")
        await board.set_budget("poor", limit=20, parent="org", on_breach="stop")
        await board.set_budget("asks", limit=30, parent="org", on_breach="ask")
        sent = [await board.submit(f"paid {n}", budget="team", policy="best", max_tokens=50) for n in range(40)]
        sent += [await board.submit("stopped", budget="poor", backend="dear", max_tokens=500)]
        waiting = await board.submit("waits for money", budget="asks", backend="dear", max_tokens=5)
        await asyncio.gather(*map(outcome, sent))
        await asyncio.sleep(0.5)
        await board.set_budget("asks", limit=4_000_000)
        await outcome(waiting)
        interrupted = await board.submit("for ever", budget="team", needs={"capabilities": ["slow"]})
        await started(node, interrupted.id)
        await board.set_budget("spare", limit=1_000_000, parent="org")
        queued = await board.submit("never begun", budget="spare", needs={"capabilities": ["slow"]})
        await reached(node, queued.id, "assigned")
        await board.end(queued.id, Cancelled("not needed after all"))
        await node.stop(0.0)
    async with Node(settings(folder, server.url, **backends)) as again:
        while not (state := (await again.board.tasks.load(interrupted.id, at_least=2**63)).state).unsettled:
            await asyncio.sleep(0.1)
        await again.board.tell_cost(interrupted.id, state.unsettled[0], 7)
        await again.board.end(interrupted.id, Cancelled("enough"))
        await asyncio.sleep(1)


@asynccontextmanager
async def living(bus: Bus, *definitions) -> AsyncIterator[Host]:
    host = Host(bus, "h1", definitions, rest_s=0.3)
    task = asyncio.create_task(host.run())
    await host.ready.wait()
    try:
        yield host
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def agents(folder: Path, server: EmbeddedServer) -> None:
    """Agents with steps and hand-offs that are answered, late or refused; approvals; contexts; what was set aside."""
    activation.BACKOFF_S = (0.1, 0.1)  # given up after three tries, and soon
    tries: list[str] = []

    @callboard.agent("researcher")
    async def research(turn: callboard.Turn, question: str) -> str:
        """Finds out one thing."""
        if question == "slowly":
            await turn.sleep("nap", 1.0)
        if question == "what nobody knows":
            raise callboard.Refusal("nobody knows")
        return await turn.model("ask", f"In one sentence: {question}", max_tokens=60)

    @callboard.agent("editor")
    async def edit(turn: callboard.Turn, topic: str) -> str:
        plan = turn.context("plan")
        handed = [turn.handoff(name, f"researcher/{name}", topic, deadline_s=60) for name in ("one", "two")]
        draft = "\n".join(await turn.gather(*handed))
        for name, question in (("late", "slowly"), ("lost", "what nobody knows")):
            try:
                await turn.handoff(name, f"researcher/{name}", question, deadline_s=0.4)
            except callboard.StepFailed:
                turn.remember(name, "no answer")
        await turn.sleep("night", 1.5)
        allowed = await turn.approve("publish", {"publish": topic}, question="Publish it?", expires_s=60)
        await turn.change("published", "archive", callboard.Say("assistant", draft), callboard.Put(topic, draft))
        await turn.send("file", "clerk/1", {"topic": topic, "draft": draft})
        turn.remember("late", None)
        turn.remember("published", turn.recall("published", 0) + 1)
        return f"{allowed.status}: {len((await plan.read()).messages)}"

    @callboard.agent("clerk")
    async def file(turn: callboard.Turn, filed: dict) -> int:
        tries.append(turn.message)
        if filed.get("fails", 0) >= len(tries):
            raise ValueError("not filed")
        return await turn.run("file", lambda: len(tries))

    greeter = callboard.Agent("greeter", instructions="Be brief.", max_turns=2)
    backends = {"echo": model("echo", 1)}
    async with Node(settings(folder, server.url, **backends)) as node:
        board = node.board
        await contexts(board)
        async with living(node.bus, research, edit, file, greeter):
            await (await board.send("greeter/ann", "hello")).result(30)
            for topic in ("the Tagus", "the Douro"):
                message = await board.send("editor/1", topic, key=topic)
                await answer(board, approved=topic == "the Tagus")
                await message.result(30)
            stumbled = await board.send("clerk/2", {"fails": 5})
            try:
                await stumbled.result(30)
            except callboard.MessageFailed:
                await board.messages.requeue("clerk/2", stumbled.id)
                await asyncio.sleep(0.5)
            await asyncio.sleep(1.5)
        await approvals(board)


async def answer(board: callboard.Board, *, approved: bool) -> None:
    while not (waiting := [each for each in await board.approvals.all() if each.status == "waiting"]):
        await asyncio.sleep(0.05)
    asked = waiting[0]
    say = Approved if approved else Denied
    await board.approvals.answer(asked.id, say(asked.requested.hash, "ann", "as it is"))


async def approvals(board: callboard.Board) -> None:
    """One that nobody answers, one that another takes the place of, one that is answered too late."""
    expiring = await board.ask({"pay": 1}, question="Pay?", by="editor", expires_s=0.3)
    first = await board.ask({"mail": "all"}, question="Send?", by="editor")
    second = await board.ask({"mail": "some"}, question="Send it to some?", by="editor", replaces=first.id)
    await expiring.result(30)
    await first.result(30)
    asked = (await board.approvals.state(second.id)).requested
    await board.approvals.answer(second.id, Denied(asked.hash, "bob"))
    with suppress(IllegalTransition):
        await board.approvals.answer(second.id, Approved(asked.hash, "eve", "why not?"))


async def contexts(board: callboard.Board) -> None:
    """Said, known, forked, compacted, merged with a disagreement, and read by a task."""
    plan = board.context("plan")
    await plan.say("Where shall we go?")
    await plan.put("budget", 900)
    branch = await plan.fork("branch")
    await branch.say("Lisbon, by the night train.", role="assistant", by="scout")
    await branch.put("city", "Lisbon")
    await plan.put("city", "Porto")
    await plan.put("scrap", 1)
    await plan.drop("scrap")
    await plan.merge(branch, prefer="theirs")
    await plan.compact(0, 1, "They chose Lisbon.")
    await (await board.submit("What will that cost?", context="plan")).result(30)


async def private(folder: Path, server: EmbeddedServer) -> None:
    """What is about persons: tasks, a context, an agent, an approval; one of them is forgotten, and comes again."""
    key = folder.with_name("master.key")
    key.write_text("5a" * 32)

    @callboard.agent("carer", private=True)
    async def care(turn: callboard.Turn, message: str) -> str:
        turn.remember("last", message)
        await turn.change("note", "file", callboard.Say("assistant", message))
        return await turn.model("ask", message)

    alone = replace(settings(folder, server.url, echo=model("echo", 1)), privacy=Privacy(master_key_file=str(key)))
    async with Node(alone) as node:
        board = node.board
        for person in ("ann", "bob"):
            await (await board.submit("my secret", private=person, tags=["secret"])).result(30)
            await board.context(f"about-{person}", private=person).say("known to few")
            await (await board.submit("and now?", context=f"about-{person}")).result(30)
            await board.ask({"call": person}, question="Call?", by="carer", private=person)
        async with living(node.bus, care):
            await (await board.send("carer/ann", "it hurts")).result(30)
        await board.forget("ann", by="clerk", reason="asked for it")
        await (await board.submit("I am back", private="ann")).result(30)


async def scaling(folder: Path, server: EmbeddedServer) -> None:
    """Replicas follow the load: more, fewer, none, and one again; then as many as a person says, until given back."""
    ms = 1_000_000
    rules = Scaling(0, 3, 100 * ms, 0, 200 * ms, 1000 * ms, 1500 * ms)
    slow = model("slow", 1, concurrency=1, scaling=rules)
    async with Node(settings(folder, server.url, slow=slow)) as node:
        board = node.board
        asked = [await board.submit(f"what is {number}?") for number in range(60)]
        for each in asked:
            await each.result(30)
        while node.projector.state(BACKENDS).by_id["slow"].replicas:
            await asyncio.sleep(0.05)
        await (await board.submit("anybody there?")).result(30)
        await board.change("slow", Scaled(2, "for the fair", held=True))
        await asyncio.sleep(1.5)
        await board.change("slow", Scaled(2, "the fair is over"))
        while node.projector.state(BACKENDS).by_id["slow"].replicas > 1:
            await asyncio.sleep(0.05)


SCENES = {"tasks": tasks, "money": money, "agents": agents, "private": private, "scaling": scaling}
