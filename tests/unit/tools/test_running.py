"""Tools that hang, refuse to stop, or are cancelled: the caller goes on, and nothing is left behind that could stop."""

import asyncio
import contextvars
import threading
import time

import pytest

from callboard.actors.tools import running
from callboard.actors.tools.contract import CallInfo, ToolError
from callboard.actors.tools.function_tool import tool

INFO = CallInfo("agent", "message", "call", "key")


@pytest.fixture(autouse=True)
def little_grace(monkeypatch):
    monkeypatch.setattr(running, "GRACE_S", 0.05)


async def test_a_tool_that_waits_too_long_is_cancelled():
    """It gets to clean up, and the limit is told."""
    ended = asyncio.Event()

    @tool(timeout_s=0.05)
    async def waits() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    with pytest.raises(ToolError, match=r"tool waits did not end within 0\.05 s and was given up") as told:
        await waits.call("", INFO)
    assert told.value.fault == "timeout"
    assert ended.is_set()


async def test_a_blocking_tool_holds_up_nobody():
    """It runs in a thread; one that is late is given up, and others go on meanwhile."""
    go_on = threading.Event()

    @tool(timeout_s=0.1)
    def blocks() -> None:
        go_on.wait(10)

    begun = time.monotonic()
    told = await asyncio.gather(*(blocks.call("", INFO) for _ in range(8)), return_exceptions=True)
    assert time.monotonic() - begun < 5
    assert {getattr(one, "fault", None) for one in told} == {"timeout"}
    go_on.set()


async def test_a_tool_that_hangs_again_and_again_is_out_of_order():
    """Threads that can't be stopped are bounded; when they end, the tool is in order again."""
    go_on = threading.Event()

    @tool(timeout_s=0.02)
    def blocks() -> str:
        go_on.wait(10)
        return "done"

    for _ in range(running.MOST_GIVEN_UP):
        with pytest.raises(ToolError, match="did not end"):
            await blocks.call("", INFO)
    with pytest.raises(ToolError, match="tool blocks is out of order: 16 calls that were given up still run") as told:
        await blocks.call("", INFO)
    assert told.value.fault == "unavailable"
    go_on.set()
    for _ in range(100):
        await asyncio.sleep(0.02)
        try:
            assert await blocks.call("", INFO) == "done"
        except ToolError:
            continue
        return
    raise AssertionError


async def test_a_tool_that_ignores_its_cancellation_is_left_behind():
    """The caller waits no longer than the grace."""
    go_on = asyncio.Event()

    @tool(timeout_s=0.02)
    async def stubborn() -> None:
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue

    with pytest.raises(ToolError, match="did not end"):
        await stubborn.call("", INFO)
    go_on.set()
    await asyncio.sleep(0.01)


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_who_cancels_a_call_cancels_the_tool(kind):
    """CancelledError comes out, no ToolError; an async tool has cleaned up by then."""
    ended = asyncio.Event()
    go_on = threading.Event()

    async def waits() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    def blocks() -> None:
        go_on.wait(10)

    call = asyncio.create_task(tool(waits if kind == "async" else blocks).call("", INFO))
    await asyncio.sleep(0.05)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert ended.is_set() == (kind == "async")
    go_on.set()


async def test_a_tool_that_cancels_itself_is_no_cancellation():
    """Its CancelledError is told as its own failure."""

    @tool
    async def quits() -> None:
        raise asyncio.CancelledError

    with pytest.raises(ToolError, match="tool quits cancelled itself"):
        await quits.call("", INFO)


async def test_a_blocking_wrapper_of_an_async_function_works():
    """What it returns is awaited, within the same time."""

    async def inner(x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    @tool(timeout_s=5)
    def wrapper(x: int) -> object:
        return inner(x)

    assert await wrapper.call('{"x": 1}', INFO) == 2


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_context_variables_are_seen(kind):
    """As they are at the call: traces and log fields reach into tools."""
    variable = contextvars.ContextVar("variable", default="none")

    def sees() -> str:
        return variable.get()

    async def sees_too() -> str:
        return variable.get()

    variable.set("here")
    assert await tool(sees if kind == "sync" else sees_too).call("", INFO) == "here"


def test_a_loop_that_ends_first_is_no_trouble(capfd):
    """A thread that outlives its loop ends without a word."""
    go_on = threading.Event()
    ended = threading.Event()

    @tool(timeout_s=0.02)
    def blocks() -> None:
        go_on.wait(10)
        ended.set()

    with pytest.raises(ToolError):
        asyncio.run(blocks.call("", INFO))
    go_on.set()
    assert ended.wait(5)
    time.sleep(0.05)
    assert "Traceback" not in capfd.readouterr().err
