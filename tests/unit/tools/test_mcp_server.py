"""Tools of real MCP servers, over pipes and HTTP: what is offered, results, refusals, and options."""

import asyncio

import pytest
from servers.mcp_calls import COMMAND, INFO, call, entered, failure, tool_of

from callboard.actors.tools import mcp_connection
from callboard.actors.tools.mcp_server import McpServer
from callboard.events.errors import InvalidInput


@pytest.mark.parametrize("kind", ["stdio", "http"])
async def test_tools_are_listed_and_called(kind):
    """Name, description and schema are the server's; values come back as they were returned."""
    async with entered(kind) as server:
        add = tool_of(server, "add")
        assert add.offer.description == "Add two numbers."
        assert add.offer.parameters["required"] == ["a"]
        assert (add.once, tool_of(server, "key").once) == (False, True)
        assert await add.call('{"a": 3}', INFO) == 5
        assert await call(server, "words", '{"count": 2}') == ["word", "word"]
        assert await call(server, "key") == "key-1"
        assert await call(server, "picture_of") == "Here:\n[image/png, 300 bytes, can't be shown]"
        sums = await asyncio.gather(*(add.call(f'{{"a": {a}, "b": {a}}}', INFO) for a in range(50)))
        assert sums == [2 * a for a in range(50)]


async def test_what_goes_wrong_is_told():
    """Arguments are checked before they are sent; failures, limits and timeouts are the tool's."""
    async with entered("stdio", max_bytes=100, timeout_s=1.5) as server:
        for name, arguments, fault, told in (
            ("add", "{", "arguments", "arguments of add are not JSON"),
            ("add", "[]", "arguments", "arguments of add must be one JSON object"),
            ("add", "{}", "arguments", "arguments of add: $: 'a' is a required property"),
            ("add", '{"a": "1"}', "arguments", "arguments of add: $.a: '1' is not of type 'integer'"),
            ("words", '{"count": 1, "cuont": 2}', "arguments", "unknown 'cuont'; did you mean 'count'?"),
            ("fails", "{}", "failed", "tool fails failed: no such place"),
            ("words", '{"count": 50}', "result", "over its limit of 100"),
            ("slow", '{"seconds": 60}', "timeout", "tool slow did not end within 1.5 s"),
        ):
            error = await failure(server, name, arguments)
            assert error.fault == fault
            assert told in str(error)
        assert await call(server, "slow", '{"seconds": 0}') == "awake"


async def test_options_choose_what_is_offered():
    """An allow list, approvals by name, a prefix, a word on repeating, and variables for the child."""
    options = {"tools": ["environment", "add"], "approval": ["add"], "prefix": "my_", "once": True}
    async with entered("stdio", **options, env={"COLOR": "blue"}) as server:
        assert [tool.offer.name for tool in server.tools] == ["my_add", "my_environment"]
        assert [tool.approval for tool in server.tools] == [True, False]
        assert [tool.once for tool in server.tools] == [True, True]
        assert await call(server, "my_environment", '{"name": "COLOR"}') == "blue"


async def test_who_cancels_a_call_cancels_it_alone():
    """The server and its other calls go on."""
    async with entered("stdio") as server:
        first = asyncio.create_task(call(server, "slow", '{"seconds": 60}'))
        second = asyncio.create_task(call(server, "slow", '{"seconds": 0.3}'))
        await asyncio.sleep(0.1)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await second == "awake"


async def test_tools_that_are_not_there_are_told():
    """With what was probably meant."""
    for options in ({"tools": ["ad"]}, {"approval": ["ad"]}):
        with pytest.raises(InvalidInput, match="MCP server test has no tool 'ad'; did you mean 'add'"):
            async with McpServer("test", command=COMMAND, **options):
                raise AssertionError


async def test_without_mcp_the_extra_is_named(monkeypatch):
    """Nothing is started."""
    monkeypatch.setattr(mcp_connection, "find_spec", lambda name: None)
    with pytest.raises(InvalidInput, match=r"need the extra mcp: pip install .*\.\[mcp\]"):
        async with McpServer("test", command=COMMAND):
            raise AssertionError


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "give either command or url"),
        ({"command": ["x"], "url": "http://x"}, "give either command or url"),
        ({"command": "uvx server"}, "command must be a list of words"),
        ({"command": []}, "command must be a list of words"),
        ({"command": ["x"], "headers": {"A": "b"}}, "headers are for a url"),
        ({"url": "ftp://x"}, "url must begin with http:// or https://"),
        ({"url": "http://x", "env": {"A": "b"}}, "env and cwd are for a command"),
        ({"command": ["x"], "tools": "add"}, "tools must be a list of names"),
        ({"command": ["x"], "approval": "add"}, "approval must be a list of names"),
        ({"command": ["x"], "timeout_s": 0}, "a timeout must be a number of seconds over 0"),
    ],
)
def test_options_are_checked(options, told):
    """Before anything is started."""
    with pytest.raises(InvalidInput, match=r"MCP server test: ") as refused:
        McpServer("test", **options)
    assert told in str(refused.value)
