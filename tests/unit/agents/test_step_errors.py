"""Handlers that use steps as they can't be used are told how to mend them, and their agents live on."""

import asyncio
import threading

import pytest

from callboard.actors.agents.definition import agent
from callboard.actors.agents.errors import MessageFailed, StepError, StepFailed
from callboard.events.agent_events import Began, DeadLettered, Finished, StepFailure, Stumbled


@pytest.fixture(autouse=True)
def no_second_try(monkeypatch):
    """What fails is set aside at once."""
    monkeypatch.setattr("callboard.actors.agents.activation.BACKOFF_S", ())


async def twice(turn):
    await turn.run("a", int)
    await turn.run("a", int)


async def nested(turn):
    async def outer():
        return await turn.run("inner", int)

    await turn.run("outer", outer)


async def nested_in_a_thread(turn):
    def outer():
        return turn.sleep("inner", 1)

    await turn.run("outer", outer)


async def in_another_thread(turn):
    caught = []

    def elsewhere():
        try:
            turn.run("a", int)
        except StepError as error:
            caught.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    raise caught[0]


async def in_another_loop(turn):
    step, caught = turn.run("a", int), []

    def elsewhere():
        try:
            asyncio.run(step)
        except StepError as error:
            caught.append(error)

    await asyncio.to_thread(elsewhere)
    raise caught[0]


async def not_awaited(turn):
    turn.run("a", int)


async def left_behind(turn):
    turn.kept = asyncio.ensure_future(turn.run("a", asyncio.sleep, 60))
    await asyncio.sleep(0.01)


async def unnamed(turn):
    await turn.run("", int)


async def named_by_a_number(turn):
    await turn.run(7, int)


async def with_a_long_name(turn):
    await turn.run("x" * 201, int)


WRONG = {
    twice: r"agent clumsy/\w+: step 'a' is there twice: give each its own name, as 'a-2'",
    nested: r"step 'inner' begins inside of step 'outer': what runs in a step can't be taken apart",
    nested_in_a_thread: r"step 'inner' begins inside of step 'outer'",
    in_another_thread: r"step 'a' begins in another thread: only a handler itself takes steps",
    in_another_loop: r"step 'a' is awaited in another event loop: await it in the handler",
    not_awaited: r"the handler ended before step 'a' did: await every step",
    left_behind: r"the handler ended before step 'a' did: await every step",
    unnamed: r"step '': a step is named by a text of 1 to 200 characters",
    named_by_a_number: r"step 7: a step is named by a text of 1 to 200 characters",
    with_a_long_name: r"step 'x+: a step is named by a text of 1 to 200 characters",
}


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
async def test_a_step_that_cannot_be_is_told_of_and_the_agent_lives_on(theatre, wrong):
    """The message is set aside with what to mend; the next one is handled."""

    @agent("clumsy")
    async def handle(turn, well: bool):
        if not well:
            await wrong(turn)
        return await turn.run("b", lambda: "well")

    await theatre.host(handle)
    name = f"clumsy/{wrong.__name__}"
    with pytest.raises(MessageFailed, match=WRONG[wrong]) as caught:
        await (await theatre.board.send(name, False)).result(5)
    assert caught.value.failure.kind in {"StepError", "StepFailed"} or wrong in {nested, nested_in_a_thread}
    assert await (await theatre.board.send(name, True)).result(5) == "well"


async def test_a_step_after_the_end_of_its_handler_is_refused(theatre):
    """Whoever keeps a turn can't do anything with it."""
    kept = []

    @agent("keeper")
    async def handle(turn, _message):
        kept.append(turn)

    await theatre.host(handle)
    await (await theatre.board.send("keeper", 0)).result(5)
    with pytest.raises(StepError, match="agent keeper: step 'late' begins after its handler has ended: await it there"):
        kept[0].run("late", int)


async def test_a_step_that_goes_on_after_the_end_of_its_handler_tells_the_log_nothing(theatre):
    """It was left behind, and its handler has failed for that."""
    go, ran = asyncio.Event(), []

    @agent("hasty")
    async def handle(turn, _message):
        async def slow():
            try:
                await go.wait()
            finally:
                ran.append(asyncio.current_task())

        turn.kept = asyncio.create_task(turn.run("slow", slow))
        await asyncio.sleep(0.01)

    await theatre.host(handle)
    with pytest.raises(MessageFailed, match="the handler ended before step 'slow' did"):
        await (await theatre.board.send("hasty", 0)).result(5)
    go.set()
    await asyncio.sleep(0.01)
    (left_behind,) = ran
    with pytest.raises(StepError, match="agent hasty: a step goes on after its handler has ended: await it there"):
        await left_behind
    assert await theatre.history("hasty") == ["received", "taken", "began", "dead_lettered"]


async def test_a_handler_that_is_cancelled_from_within_has_failed(theatre):
    """A task of its own that was cancelled does not take the agent along."""

    @agent("selfish")
    async def handle(turn, well: bool):
        if not well:
            raise asyncio.CancelledError
        return "well"

    await theatre.host(handle)
    with pytest.raises(MessageFailed, match="CancelledError"):
        await (await theatre.board.send("selfish", False)).result(5)
    assert await (await theatre.board.send("selfish", True)).result(5) == "well"


async def test_what_must_not_run_twice_is_unknown_after_a_crash_and_tried_again_by_hand(theatre):
    """Nobody saw the payment's end: the message is set aside at once, and a person decides."""
    paid, go = [], asyncio.Event()

    @agent("payer")
    async def pay(turn, amount: int):
        async def transfer():
            paid.append(amount)
            if len(paid) == 1:
                await go.wait()
            return len(paid)

        before = await turn.run("before", lambda: "looked up")
        return [before, await turn.run("pay", transfer, once=True)]

    first = await theatre.host(pay)
    message = await theatre.board.send("payer", 5)
    while not paid:
        await asyncio.sleep(0.01)
    first.cancel()
    await theatre.host(pay)
    with pytest.raises(MessageFailed, match="step 'pay': it was interrupted, and must not run twice") as caught:
        await message.result(5)
    assert caught.value.failure.kind == "unknown"
    assert paid == [5]
    await theatre.board.messages.requeue("payer", message.id)
    while not (ends := [event for event in await theatre.events("payer") if isinstance(event, Finished)]):
        await asyncio.sleep(0.01)
    assert ends[0].value.json == ["looked up", 2]
    began = [event for event in await theatre.events("payer") if isinstance(event, Began)]
    assert began == [Began("before"), Began("pay"), Began("pay", 2)]
    assert not [event for event in await theatre.events("payer") if isinstance(event, Stumbled)]


async def test_what_must_not_run_twice_is_unknown_as_often_as_it_is_interrupted(theatre):
    """Also when it was tried again by hand, and that was interrupted."""
    paid = []

    @agent("payer")
    async def pay(turn, amount: int):
        return await turn.run("pay", lambda: paid.append(amount) or asyncio.sleep(60), once=True)

    message = None
    for times in (1, 2):
        host = await theatre.host(pay)
        message = message or await theatre.board.send("payer", 5)
        while len(paid) < times:
            await asyncio.sleep(0.01)
        host.cancel()
        last = await theatre.host(pay)
        while (await theatre.history("payer")).count("dead_lettered") < times:
            await asyncio.sleep(0.01)
        last.cancel()
        await theatre.board.messages.requeue("payer", message.id)
    dead = [event for event in await theatre.events("payer") if isinstance(event, DeadLettered)]
    assert [each.failure.kind for each in dead] == ["unknown", "unknown"]
    assert len(paid) == 2


async def test_what_must_not_run_twice_is_not_tried_again_when_it_fails(theatre, monkeypatch):
    """Its failure is told as it is, and the message set aside at once; a handler may catch it."""
    monkeypatch.setattr("callboard.actors.agents.activation.BACKOFF_S", (0.0, 0.0, 0.0))
    paid = []

    @agent("payer")
    async def pay(turn, catches: bool):
        def transfer():
            paid.append(catches)
            raise OSError("card declined")

        try:
            await turn.run("pay", transfer, once=True)
        except StepFailed as error:
            if catches:
                return error.kind
            raise

    await theatre.host(pay)
    with pytest.raises(MessageFailed, match="step 'pay': OSError: card declined"):
        await (await theatre.board.send("payer", False)).result(5)
    assert paid == [False]
    assert await (await theatre.board.send("payer", True)).result(5) == "OSError"
    (dead,) = [event for event in await theatre.events("payer") if isinstance(event, DeadLettered)]
    assert dead.failure == StepFailure("OSError", "step 'pay': OSError: card declined")


async def test_a_message_of_the_wrong_type_is_refused(theatre):
    """The sender is told what is wrong, be it a person or an agent; nothing is tried again."""

    @agent("adder")
    async def add(turn, numbers: list[int]):
        return sum(numbers)

    @agent("boss")
    async def boss(turn, asked):
        try:
            return await turn.handoff("ask", "adder", asked)
        except StepFailed as error:
            return [error.kind, str(error)]

    await theatre.host(add, boss)
    with pytest.raises(MessageFailed, match="agent adder can't take this message: Expected `array`, got `str`"):
        await (await theatre.board.send("adder", "12")).result(5)
    kind, why = await (await theatre.board.send("boss", ["1"])).result(5)
    expected = r"agent adder can't take this message: Expected `int`, got `str` - at `$[0]`"
    assert (kind, why) == ("InvalidInput", f"step 'ask': {expected}")
    assert await (await theatre.board.send("boss", [1, 2])).result(5) == 3
    assert "stumbled" not in await theatre.history("adder")
