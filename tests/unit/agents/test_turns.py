"""What handlers can do, and what is in the log of it."""

import asyncio
from datetime import UTC, datetime

import pytest

from callboard.actors.agents.definition import agent
from callboard.actors.agents.errors import MessageFailed, Refusal, StepFailed
from callboard.actors.board import Board
from callboard.bus.errors import Unavailable
from callboard.events.agent_events import Began, Stepped, Stumbled
from callboard.events.context import Say


async def test_a_message_is_handled_and_answered(theatre):
    """What a handler returns is the answer; each step is begun and ended in the log."""

    @agent("greeter")
    async def greet(turn, name: str):
        shout = await turn.run("shout", str.upper, name)
        mark = await turn.run("mark", lambda: "!")
        return f"Hello {shout}{mark}"

    await theatre.host(greet)
    message = await theatre.board.send("greeter/ann", "ann")
    assert await message.result(5) == "Hello ANN!"
    expected = ["received", "taken", "began", "stepped", "began", "stepped", "finished"]
    assert await theatre.history("greeter/ann") == expected


async def test_the_end_of_a_step_and_the_beginning_of_the_next_are_one_message(theatre):
    """So a step costs one append, and what follows it does not begin before it is in the log."""

    @agent("counter")
    async def count(turn, upto: int):
        return [await turn.run(f"step {n}", lambda n=n: n) for n in range(upto)]

    await theatre.host(count)
    assert await (await theatre.board.send("counter", 5)).result(5) == [0, 1, 2, 3, 4]
    before = await theatre.bus.log.end()
    await (await theatre.board.send("counter", 50)).result(5)
    assert await theatre.bus.log.end() - before < 50 + 5


async def test_steps_run_together(theatre):
    """Steps in a `gather` are under way at a time."""
    under_way = []

    @agent("parallel")
    async def handle(turn, message):
        met = asyncio.Event()

        async def meet(name):
            under_way.append(name)
            if len(under_way) == 2:
                met.set()
            await met.wait()
            return name

        return await turn.gather(turn.run("a", meet, "a"), turn.run("b", meet, "b"))

    await theatre.host(handle)
    assert await (await theatre.board.send("parallel", 0)).result(5) == ["a", "b"]


async def test_what_is_remembered_is_recalled_with_the_next_message(theatre):
    """An agent remembers from one message to the next; another instance has a memory of its own."""

    @agent("tally")
    async def add(turn, number: int):
        turn.remember("sum", turn.recall("sum", 0) + number)
        return turn.recall("sum")

    await theatre.host(add)
    sums = [await (await theatre.board.send("tally/a", n)).result(5) for n in (1, 2, 3)]
    assert sums == [1, 3, 6]
    assert await (await theatre.board.send("tally/b", 5)).result(5) == 5


async def test_messages_are_handled_in_order_one_at_a_time(theatre):
    """An agent never works at two messages at once."""
    seen = []

    @agent("queue")
    async def handle(turn, number: int):
        seen.append(("in", number))
        await turn.run("work", asyncio.sleep, 0.005)
        seen.append(("out", number))

    await theatre.host(handle)
    sent = [await theatre.board.send("queue", n) for n in range(5)]
    await asyncio.gather(*(message.result(5) for message in sent))
    assert seen == [(way, n) for n in range(5) for way in ("in", "out")]


async def test_a_message_that_is_sent_is_handled_once(theatre):
    """`send` waits for no answer."""
    got = asyncio.Queue()

    @agent("from")
    async def give(turn, _message):
        await turn.send("one", "to/1", {"n": 1})
        await turn.send("two", "to/1", {"n": 2})

    @agent("to")
    async def take(turn, message):
        got.put_nowait((message["n"], turn.sender))

    await theatre.host(give, take)
    await (await theatre.board.send("from", 0)).result(5)
    assert [await got.get(), await got.get()] == [(1, "from"), (2, "from")]


async def test_a_handler_that_fails_is_tried_again_and_its_done_steps_are_not(theatre, monkeypatch):
    """What a step gave stays; what failed is tried again."""
    monkeypatch.setattr("callboard.actors.agents.activation.BACKOFF_S", (0.0, 0.0, 0.0, 0.0))
    runs = {"first": 0, "second": 0}

    @agent("shaky")
    async def handle(turn, _message):
        def first():
            runs["first"] += 1
            return runs["first"]

        def second():
            runs["second"] += 1
            if runs["second"] < 3:
                raise OSError("no route to host")
            return runs["second"]

        return [await turn.run("first", first), await turn.run("second", second)]

    await theatre.host(handle)
    assert await (await theatre.board.send("shaky", 0)).result(5) == [1, 3]
    began = [event for event in await theatre.events("shaky") if isinstance(event, Began)]
    assert began == [Began("first"), Began("second"), Began("second", 2), Began("second", 3)]


async def test_what_fails_for_good_is_set_aside_and_can_be_tried_again(theatre, monkeypatch):
    """After all tries the message is a dead letter; the next one is handled all the same."""
    monkeypatch.setattr("callboard.actors.agents.activation.BACKOFF_S", (0.0,))
    works = False

    @agent("poor")
    async def handle(turn, message):
        if message == "bad" and not works:
            raise ValueError("no such thing")
        return "fine"

    await theatre.host(handle)
    bad = await theatre.board.send("poor", "bad")
    with pytest.raises(MessageFailed, match="ValueError: no such thing"):
        await bad.result(5)
    assert await (await theatre.board.send("poor", "good")).result(5) == "fine"
    works = True
    await theatre.board.messages.requeue("poor", bad.id)
    while (await theatre.history("poor"))[-1] != "finished":
        await asyncio.sleep(0.01)
    assert (await theatre.history("poor")).count("stumbled") == 1


async def test_a_refusal_is_final(theatre):
    """A handler that refuses is not tried again."""

    @agent("shy")
    async def handle(turn, _message):
        raise Refusal("not today")

    await theatre.host(handle)
    with pytest.raises(MessageFailed, match="not today"):
        await (await theatre.board.send("shy", 0)).result(5)
    assert await theatre.history("shy") == ["received", "taken", "finished"]


async def test_results_that_cannot_be_kept_fail_their_step(theatre):
    """Too large, or no JSON: the step says so, and the agent goes on."""

    @agent("odd")
    async def handle(turn, _message):
        kinds = []
        for name, function in (("object", object), ("large", lambda: "x" * 10_000_000)):
            try:
                await turn.run(name, function)
            except StepFailed as error:
                kinds.append((error.kind, str(error)))
        return kinds

    await theatre.host(handle)
    odd, large = await (await theatre.board.send("odd", 0)).result(5)
    assert odd[0] == "not JSON"
    assert odd[1].startswith("step 'object': the result of step 'object' is a object that is no JSON")
    assert large[0] == "too large"


async def test_a_step_that_hangs_is_given_up(theatre):
    """With a time limit a step fails, and the handler decides what then."""

    @agent("patient")
    async def handle(turn, _message):
        try:
            await turn.run("hang", asyncio.sleep, 60, timeout_s=0.01)
        except StepFailed as error:
            return str(error)

    await theatre.host(handle)
    why = await (await theatre.board.send("patient", 0)).result(5)
    assert why == "step 'hang': TimeoutError: it took longer than 0.01 s"


async def test_large_values_go_aside(theatre):
    """A result of 100 kB is in the blob store, and comes back from there."""
    runs = []

    @agent("bulky")
    async def handle(turn, message):
        return await turn.run("grow", lambda: runs.append(0) or message * 2)

    await theatre.host(handle)
    assert await (await theatre.board.send("bulky", "x" * 100_000)).result(5) == "x" * 200_000
    steps = [event for event in await theatre.events("bulky") if isinstance(event, Stepped)]
    assert steps[0].value.aside.size == 200_002


async def test_the_time_of_a_step_stays(theatre, monkeypatch):
    """`now` gives the same time when the handler runs again."""
    monkeypatch.setattr("callboard.actors.agents.activation.BACKOFF_S", (0.01,))
    times = []

    @agent("clock")
    async def handle(turn, _message):
        times.append(await turn.now("start"))
        if len(times) < 2:
            raise OSError("again")

    await theatre.host(handle)
    await (await theatre.board.send("clock", 0)).result(5)
    assert times[0] == times[1]
    assert abs((datetime.now(UTC) - times[0]).total_seconds()) < 5


async def test_a_context_is_changed_once(theatre, monkeypatch):
    """A change is made once, however often the handler runs."""
    monkeypatch.setattr("callboard.actors.agents.activation.BACKOFF_S", (0.0,))
    runs = []

    @agent("author")
    async def handle(turn, _message):
        await turn.change("say", "plan", Say("user", "hello"))
        runs.append(0)
        if len(runs) == 1:
            raise OSError("again")

    await theatre.host(handle)
    await (await theatre.board.send("author", 0)).result(5)
    assert len(runs) == 2
    assert [said.content for said in (await theatre.board.context("plan").read()).messages] == ["hello"]


async def test_a_message_with_a_key_is_handled_once(theatre):
    """Sent again, it is the same message, with the same answer."""
    runs = []

    @agent("once")
    async def handle(turn, _message):
        runs.append(0)
        return len(runs)

    await theatre.host(handle)
    first = await theatre.board.send("once", 0, key="a")
    assert await first.result(5) == 1
    again = await theatre.board.send("once", 0, key="a")
    assert again.id == first.id
    assert await again.result(5) == 1


async def test_whoever_did_not_send_a_message_has_its_answer_as_soon(theatre):
    """By its id, or sent again with its key; and is told when the connection ends before."""
    done = asyncio.Event()

    @agent("slow")
    async def handle(turn, _message):
        await done.wait()
        return "done"

    await theatre.host(handle)
    sent = await theatre.board.send("slow", 0, key="a")
    other, gone = (Board(theatre.bus.join(), "other") for _ in range(2))
    again = [await board.send("slow", 0, key="a") for board in (other, theatre.board)]
    waiting = [sent, *again, other.messages.message("slow", sent.id)]
    results = [asyncio.create_task(each.result(5)) for each in waiting]
    unheard = asyncio.create_task(gone.messages.message("slow", sent.id).result(5))
    await asyncio.sleep(0.05)
    await gone.aclose()
    with pytest.raises(Unavailable, match="the connection was closed before slow was done with"):
        await unheard
    done.set()
    assert await asyncio.gather(*results) == ["done"] * 4
    await other.aclose()


async def test_much_is_remembered_at_a_time(theatre):
    """It is in the log together with the end of the message; what is too much is told to the handler."""

    @agent("elephant")
    async def keep(turn, count: int):
        known = [turn.recall(f"{number}") for number in range(100)]
        for number in range(count):
            turn.remember(f"{number}", str(number) * 30_000)
        return [each and len(each) for each in known]

    await theatre.host(keep)
    assert await (await theatre.board.send("elephant", 100)).result(5) == [None] * 100
    assert await (await theatre.board.send("elephant", 0)).result(5) == [30_000] * 10 + [60_000] * 90
    many = await theatre.board.send("elephant", 101)
    while "stumbled" not in await theatre.history("elephant"):
        await asyncio.sleep(0.01)
    (why,) = [event.failure.message for event in await theatre.events("elephant") if isinstance(event, Stumbled)]
    assert why == "more than 100 things to remember of one message: put them under one key, or into a context"
    assert many.agent == "elephant"


async def test_a_thousand_steps_run_together(theatre):
    """Their beginnings and their ends need several messages."""

    @agent("crowd")
    async def handle(turn, number: int):
        async def one(n):
            return n

        return sum(await turn.gather(*(turn.run(f"step {n}", one, n) for n in range(number))))

    await theatre.host(handle)
    assert await (await theatre.board.send("crowd", 1000)).result(20) == 499_500
