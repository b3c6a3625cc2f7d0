"""Toolboxes: unique names, offers in order, and results that tell all that can go wrong."""

import asyncio
import sys
import time

import pytest
from servers import mcp_server

from callboard.actors.tools.contract import CallInfo
from callboard.actors.tools.function_tool import tool
from callboard.actors.tools.mcp_server import McpServer
from callboard.actors.tools.toolbox import Toolbox, ToolResult
from callboard.events.chat import Message, ToolCall
from callboard.events.errors import InvalidInput

INFO = CallInfo("agent", "message", "call", "key")


def server(**options) -> McpServer:
    return McpServer("test", command=[sys.executable, mcp_server.__file__], **options)


@tool
def double(x: int) -> int:
    """Twice as much."""
    return 2 * x


def greet(name: str) -> str:
    """A greeting."""
    return f"Hello, {name}"


@tool(approval=True)
async def pay(cents: int) -> dict[str, int]:
    await asyncio.sleep(0)
    return {"paid": cents}


async def test_functions_and_tools_are_offered_in_order():
    """A plain function becomes a tool; what the agent has to know of each is found by its name."""
    box = Toolbox([double, greet, pay])
    assert [(offer.name, offer.description) for offer in box.offers()] == [
        ("double", "Twice as much."),
        ("greet", "A greeting."),
        ("pay", ""),
    ]
    assert [box.find(name).approval for name in ("double", "greet", "pay")] == [False, False, True]


async def test_a_result_is_json_and_the_text_for_the_model():
    """A text is told as it is, all else as JSON."""
    box = Toolbox([double, greet, pay])
    result = await box.call(ToolCall("c1", "greet", '{"name": "Ida \\u00e9"}'), INFO)
    assert result == ToolResult("c1", '"Hello, Ida é"')
    assert result.message == Message("tool", "Hello, Ida é", (), "c1")
    assert (await box.call(ToolCall("c2", "double", '{"x": 4}'), INFO)).text == "8"
    assert (await box.call(ToolCall("c3", "pay", '{"cents": 4}'), INFO)).text == '{"paid":4}'


@pytest.mark.parametrize(
    ("call", "fault", "told"),
    [
        (ToolCall("c", "duoble", "{}"), "unknown", "there is no tool 'duoble'; did you mean 'double'? the tools are:"),
        (ToolCall("c", "zzz", "{}"), "unknown", "there is no tool 'zzz'; the tools are: double, greet, pay"),
        (ToolCall("c", "double", "{"), "arguments", "arguments of double are not JSON"),
    ],
)
async def test_errors_are_results(call, fault, told):
    """Nothing is raised; the fault says of what kind it was."""
    result = await Toolbox([double, greet, pay]).call(call, INFO)
    assert (result.call, result.fault) == ("c", fault)
    assert result.text.startswith(f"Error: {told}")


async def test_an_empty_box_has_no_tools():
    """And says so."""
    assert Toolbox().offers() == ()
    assert "the tools are: none" in (await Toolbox().call(ToolCall("c", "x", "{}"), INFO)).text


def test_two_of_one_name_are_refused():
    """Both are named."""
    with pytest.raises(InvalidInput, match=r"two tools are named 'double' \(FunctionTool\(double\), FunctionTool"):
        Toolbox([double, tool(greet, name="double")])


async def test_calls_in_parallel_do_not_wait_for_each_other():
    """Each gets its own result."""

    @tool
    def slow(x: int) -> int:
        time.sleep(0.1)
        return x

    box = Toolbox([slow])
    begun = time.monotonic()
    calls = [ToolCall(str(x), "slow", f'{{"x": {x}}}') for x in range(20)]
    results = await asyncio.gather(*(box.call(call, INFO) for call in calls))
    assert [(result.call, result.value) for result in results] == [(str(x), str(x)) for x in range(20)]
    assert time.monotonic() - begun < 1.5


async def test_cancellation_is_the_only_thing_raised():
    """It comes out as it went in."""

    @tool
    async def waits() -> None:
        await asyncio.sleep(60)

    call = asyncio.create_task(Toolbox([waits]).call(ToolCall("c", "waits", "{}"), INFO))
    await asyncio.sleep(0.02)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_servers_are_there_while_the_box_is_entered():
    """Their tools come in the order given, next to functions; two boxes share one process."""
    shared = server(tools=["add", "pid"])
    with pytest.raises(InvalidInput, match="enter the toolbox first"):
        Toolbox([shared]).offers()
    async with Toolbox([double, shared]) as box, Toolbox([shared]) as other:
        assert [offer.name for offer in box.offers()] == ["double", "add", "pid"]
        assert (await box.call(ToolCall("c", "add", '{"a": 1}'), INFO)).text == "3"
        pids = [await each.call(ToolCall("c", "pid", ""), INFO) for each in (box, other)]
        assert pids[0].value == pids[1].value
        with pytest.raises(InvalidInput, match="open already"):
            await box.__aenter__()
    result = await box.call(ToolCall("c", "add", '{"a": 1}'), INFO)
    assert result.fault == "unknown"


async def test_names_of_servers_may_clash_and_be_told_apart():
    """A clash is told, and the servers that had begun are ended; a prefix solves it."""

    def add(a: int) -> int:
        return a

    first = server(tools=["add"])
    with pytest.raises(InvalidInput, match=r"two tools are named 'add' .*McpTool\(test, add\)"):
        async with Toolbox([add, first]):
            raise AssertionError
    async with Toolbox([add, server(tools=["add"], prefix="test_")]) as box:
        assert [offer.name for offer in box.offers()] == ["add", "test_add"]
        assert (await box.call(ToolCall("c", "test_add", '{"a": 1}'), INFO)).text == "3"
