"""Shared contexts on both buses: many writers lose nothing, a fork copies nothing, large values lie aside."""

import asyncio

import pytest
from msgspec import Raw
from msgspec.structs import replace

from callboard.actors.board import Board
from callboard.actors.claim_check import text_of
from callboard.actors.context_handle import ContextHandle
from callboard.bus.log import Bus, Write
from callboard.bus.subjects import entity, event
from callboard.events.chat import ToolCall
from callboard.events.context import Put, Say
from callboard.events.envelope import Unknown, decode, encode, message_hash
from callboard.events.errors import Clash, IllegalTransition, InvalidId, InvalidInput, Undecodable

WRITERS = 20
EACH = 10


@pytest.fixture
def board(bus: Bus) -> Board:
    return Board(bus, "test#1")


async def texts(context: ContextHandle) -> list[str]:
    return [str(message.content) for message in (await context.read()).messages]


async def test_many_writers_on_two_connections_lose_nothing(connect):
    """Each message is there once, in its writer's order, and a counter that all raise has counted all."""
    boards = [Board(await connect(), f"test#{number}") for number in range(2)]

    async def write(number: int) -> None:
        context = boards[number % 2].context("shared")
        for count in range(EACH):
            await context.say(f"{number}/{count}", by=f"writer {number}")

    async def count(number: int) -> None:
        context = boards[number % 2].context("shared")
        done = 0
        while done < EACH:
            content = await context.read()
            value = content.facts["count"].value
            try:
                await context.put("count", value + 1, base=content.version)
            except Clash:
                continue
            done += 1

    await boards[0].context("shared").put("count", 0)
    await asyncio.gather(*(write(number) for number in range(WRITERS)), *(count(number) for number in range(4)))
    assert (await boards[1].context("shared").read()).facts["count"].value == 4 * EACH
    said = await texts(boards[1].context("shared"))
    assert len(said) == WRITERS * EACH
    for number in range(WRITERS):
        assert [text for text in said if text.startswith(f"{number}/")] == [f"{number}/{c}" for c in range(EACH)]


async def test_whoever_has_its_turn_lets_others_have_theirs(connect):
    """One that writes without a pause, and so always knows the newest state, does not keep another out.

    Who goes first is drawn by lot: 20 to 330 were written meanwhile in 16 runs, and 5,600 where none took turns.
    """
    boards = [Board(await connect(), f"test#{number}") for number in range(2)]
    busy, seldom, done, written = boards[0].context("shared"), boards[1].context("shared"), asyncio.Event(), 0

    async def flood() -> None:
        nonlocal written
        while not done.is_set() and written < 3000:
            await busy.say("more")
            written += 1

    flooding = asyncio.create_task(flood())
    while written < 10:
        await asyncio.sleep(0.001)
    for _ in range(10):
        await seldom.say("less")
    done.set()
    await flooding
    said = await texts(seldom)
    assert said.count("less") == 10
    assert said.count("more") == written < 3000


async def test_a_fork_is_a_pointer(board, bus):
    """One message, however long the context is; each goes its own way, also from what was long ago."""
    plan = board.context("plan")
    for number in range(5):
        await plan.say(f"step {number}")
    early, now = await plan.fork("early", at=2), await plan.fork()
    assert len(await bus.log.read(entity("context", "early"))) == 1
    await early.say("another way")
    await plan.say("step 5")
    await now.say("aside")
    deeper = await early.fork("deeper")
    await deeper.say("deeper still")
    assert await texts(early) == ["step 0", "step 1", "another way"]
    assert await texts(now) == [*(f"step {number}" for number in range(5)), "aside"]
    assert await texts(deeper) == ["step 0", "step 1", "another way", "deeper still"]
    assert [str(message.content) for message in (await plan.read(at=1)).messages] == ["step 0"]
    with pytest.raises(IllegalTransition, match="context early exists"):
        await plan.fork("early")


async def test_what_a_fork_learns_is_merged(board):
    """Messages once, keys as changed; what both changed needs a word, and is recorded."""
    main = board.context("main")
    await main.change(Say("user", "hello"), Put("colour", "red"), Put("size", 1))
    fork = await main.fork("fork")
    await fork.change(Say("assistant", "from the fork"), Put("colour", "blue"), Put("found", [1, 2]))
    await main.change(Say("user", "meanwhile"), Put("size", 2))
    merged = await main.merge(fork)
    assert merged is not None
    assert await texts(main) == ["hello", "meanwhile", "from the fork"]
    assert await main.value("colour") == "blue"
    assert await main.value("found") == [1, 2]
    assert await main.value("size") == 2
    assert await main.merge(fork) is None
    await fork.put("size", 3)
    await main.put("size", 4)
    with pytest.raises(Clash, match="have both changed size: say whose is kept"):
        await main.merge(fork)
    assert (await main.merge(fork, prefer="theirs")).disagreements[0].key == "size"
    assert await main.value("size") == 3
    await fork.merge(main)
    assert await texts(fork) == ["hello", "from the fork", "meanwhile"]
    with pytest.raises(InvalidInput, match="neither was forked from the other"):
        await main.merge(await (await main.fork("a")).fork("b"))
    with pytest.raises(InvalidInput, match="context main can't be merged into itself"):
        await main.merge(main)
    assert [each.id for each in await board.contexts.all()] == ["a", "b", "fork", "main"]


async def test_two_who_merge_at_a_time_merge_once(connect):
    """The second finds it done, or plans again on what the first has done."""
    boards = [Board(await connect(), f"test#{number}") for number in range(2)]
    main = boards[0].context("main")
    await main.say("begin")
    fork = await main.fork("fork")
    for number in range(5):
        await fork.say(f"found {number}")
        await asyncio.gather(*(board.context("main").merge(board.context("fork")) for board in boards))
    assert await texts(main) == ["begin", *(f"found {number}" for number in range(5))]


async def test_a_fork_of_any_size_is_merged(board):
    """What does not fit one message of the log comes in several, once; what is disputed comes with the last."""
    main = board.context("main")
    await main.put("colour", "red")
    fork = await main.fork("fork")
    for number in range(0, 600, 50):
        await fork.change(*(Say("user", f"{number + each} " + "x" * 2000) for each in range(50)))
    for number in range(20):
        await fork.put(f"table {number}", ["y" * 1000] * 20)
    await fork.put("colour", "blue")
    await main.put("colour", "green")
    merged = await main.merge(fork, prefer="theirs")
    assert [each.key for each in merged.disagreements] == ["colour"]
    content = await main.read()
    assert content.origins == tuple(f"fork:{number}" for number in range(600))
    assert len(content.facts) == 21
    assert content.facts["colour"].value == "blue"
    assert content.version > 8
    assert await main.merge(fork, prefer="theirs") is None
    await fork.change(Say("user", "x" * 60_000), Say("user", "y" * 60_000))
    await fork.say("z" * 60_000)
    assert await main.merge(fork) is not None
    assert len((await main.read()).messages) == 603


async def test_a_summary_hides_nothing(board):
    """It is shown in place of its messages, with what they had in tokens; they can still be read."""
    context = board.context("long")
    calls = (ToolCall("1", "look", "{}"),)
    await context.change(*(Say("user", f"message {number} " * 20) for number in range(4)))
    await context.change(Say("assistant", "", calls), Say("tool", "seen", tool_call_id="1"), Say("assistant", "done"))
    before = await context.read()
    with pytest.raises(InvalidInput, match=r"messages 1 to 4 cut tool calls from their answers \(1\)"):
        await context.compact(1, 4, "in short")
    found = await context.compact(1, 5, "in short", by="summariser")
    after = await context.read()
    assert after.messages == before.messages
    assert after.tokens < before.tokens
    assert found.tokens > 150
    assert [getattr(each, "summary", None) for each in after.shown()] == [None, "in short", None]
    fork = await context.fork("fork")
    with pytest.raises(InvalidInput, match="messages 5 to 6 cut tool calls from their answers"):
        await fork.compact(5, 6, "x")
    with pytest.raises(InvalidInput, match="messages 6 to 9 can't be compacted: there are 7, numbered from 0"):
        await fork.compact(6, 9, "x")


async def test_large_values_lie_in_the_blob_store(board):
    """Said, put and attached, of any size, by their hash."""
    context, text = board.context("large"), "word " * 100_000
    await context.say(text)
    await context.put("table", ["x" * 1000] * 300)
    await context.attach("picture", bytes(range(256)) * 2000, "image/png")
    await context.attach("settings", b'{"a": 1}', "application/json")
    content = await context.read()
    assert content.facts["picture"].artifact.media == "image/png"
    assert await text_of(board.bus, content.messages[0].content) == text
    assert await context.value("table") == ["x" * 1000] * 300
    assert await context.value("picture") == bytes(range(256)) * 2000
    assert await context.value("settings") == b'{"a": 1}'
    with pytest.raises(KeyError):
        await context.value("unknown")


async def test_what_a_newer_version_has_said_is_listed_but_not_read_past(board, bus):
    """A list of all shows what is known; the state at a version is not guessed."""
    context = board.context("here")
    await context.say("hello")
    [record] = await bus.log.read(entity("context", "here"))
    newer = replace(
        decode(record.data)[0],
        id="e2",
        version=2,
        prevhash=message_hash(record.data),
        event=Unknown("x.context.y.v9", Raw(b"{}")),
    )
    await bus.log.append(Write(event("context", "here", "y"), encode([newer]), record.seq))
    assert [(each.id, each.messages) for each in await board.contexts.all()] == [("here", 1)]
    assert (await board.contexts.state("here", 1)).messages == 1
    with pytest.raises(Undecodable, match=r"context here holds x\.context\.y\.v9, which this version does not know"):
        await context.say("more")


async def test_what_can_not_be_is_told(board):
    """Wrong ids, versions and values: which, where, and how to mend it; nothing is changed."""
    with pytest.raises(InvalidId, match=r"context 'a\.b' is not valid"):
        board.context("a.b")
    with pytest.raises(InvalidInput, match="no context 'nobody'"):
        await board.context("nobody").read()
    with pytest.raises(InvalidInput, match="no context 'nobody'"):
        await board.context("nobody").fork()
    context = board.context("here")
    await context.put("a", 1)
    with pytest.raises(InvalidInput, match="the change of context here can't be written as JSON"):
        await context.put("a", object())
    with pytest.raises(InvalidInput, match="the change of context here can't be written as JSON"):
        await context.say(5)
    with pytest.raises(InvalidInput, match="a key has 1 to 256 characters, got ''"):
        await context.put("", 1)
    with pytest.raises(InvalidInput, match=r"has 50\d,\d+ bytes: make it several, of up to 200,000"):
        await context.change(*(Say("user", "x" * 5000) for _ in range(100)))
    with pytest.raises(InvalidInput, match="context here has no version 7: use 1 to 1"):
        await context.read(at=7)
    with pytest.raises(InvalidInput, match="context here has no version 7: it is at 1"):
        await context.put("a", 2, base=7)
    assert (await context.read()).version == 1
