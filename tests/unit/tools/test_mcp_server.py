"""Tools of real MCP servers, over pipes and HTTP: results, refusals, servers that die, hang, or never start."""

import asyncio
import functools
import os
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager

import mcp
import pytest
from servers import mcp_server

from callboard.actors.tools import mcp_connection
from callboard.actors.tools.contract import CallInfo, ToolError
from callboard.actors.tools.mcp_server import McpServer, McpTool
from callboard.events.errors import InvalidInput

INFO = CallInfo("agent", "message", "call", "key-1")
COMMAND = [sys.executable, mcp_server.__file__]


def tool_of(server: McpServer, name: str) -> McpTool:
    return next(tool for tool in server.tools if tool.offer.name == name)


async def call(server: McpServer, name: str, arguments: str = "{}"):
    return await tool_of(server, name).call(arguments, INFO)


async def failure(server: McpServer, name: str, arguments: str = "{}") -> ToolError:
    with pytest.raises(ToolError) as told:
        await call(server, name, arguments)
    assert "\n" not in str(told.value)
    return told.value


def alive(pid: int | str) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    return True


class Http:
    """An MCP server on a port of its own, which can be stopped and started again."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        self.process: subprocess.Popen | None = None

    async def start(self) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, str(self.port)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        for _ in range(600):
            await asyncio.sleep(0.05)
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.5).close()
            except OSError:
                continue
            return
        raise AssertionError("the server does not listen")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
async def http():
    server = Http()
    await server.start()
    yield server
    server.stop()


@asynccontextmanager
async def entered(kind: str, **options):
    if kind == "stdio":
        async with McpServer("test", command=COMMAND, **options) as server:
            yield server
        return
    web = Http()
    await web.start()
    try:
        async with McpServer("test", url=web.url, **options) as server:
            yield server
    finally:
        web.stop()


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


async def test_a_server_that_died_is_started_again_by_the_next_call():
    """A call that died with it is not repeated, as nobody knows what it did; the next one finds a new server."""
    async with entered("stdio") as server:
        before = await call(server, "pid")
        error = await failure(server, "die")
        assert error.fault == "interrupted"
        assert "was lost during die, whether that was done is not known" in str(error)
        assert "its last words: out of order" in str(error)
        assert await call(server, "pid") != before


async def test_a_call_that_may_be_repeated_is(tmp_path):
    """The server dies with the first try, and a new one answers the second."""
    async with entered("stdio") as server:
        assert await call(server, "die_once", f'{{"path": "{tmp_path / "mark"}"}}') == "alive"


async def test_calls_in_parallel_share_one_restart():
    """All that find the server dead wait for the same new one."""
    async with entered("stdio") as server:
        await failure(server, "die")
        pids = await asyncio.gather(*(call(server, "pid") for _ in range(10)))
        assert len(set(pids)) == 1


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_an_http_server_may_come_back(http, mode, monkeypatch):
    """While it is gone calls say so, and do nothing; when it is back they go on. With sessions, and without."""
    monkeypatch.setattr(mcp, "Client", functools.partial(mcp.Client, mode=mode))
    async with McpServer("test", url=http.url, headers={"X-Key": "secret"}) as server:
        assert await call(server, "add", '{"a": 1}') == 3
        assert (await failure(server, "die")).fault == "interrupted"
        error = await failure(server, "add", '{"a": 1}')
        assert error.fault == "unavailable"
        assert f"MCP server test ({http.url}) can't be reached" in str(error)
        http.stop()
        await http.start()
        assert await call(server, "add", '{"a": 1}') == 3
        http.stop()
        await http.start()
        assert await call(server, "key") == "key-1"
        assert "secret" not in repr(server)


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


async def test_leaving_ends_the_server_and_its_calls():
    """The child is gone, and a call under way is told that its outcome is not known."""
    server = McpServer("test", command=COMMAND)
    async with server:
        pid = await call(server, "pid")
        pending = asyncio.create_task(failure(server, "slow", '{"seconds": 60}'))
        await asyncio.sleep(0.1)
    assert (await pending).fault == "interrupted"
    assert not alive(pid)
    error = await failure(server, "add", '{"a": 1}')
    assert (error.fault, str(error)) == (
        "unavailable",
        "MCP server test is closed: use its tools inside of async with",
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"command": ["no-such-command"]}, "MCP server test (no-such-command) did not start: [Errno 2]"),
        ({"command": [sys.executable, "-c", "raise SystemExit('no key')"]}, "; its last words: no key"),
        ({"command": [sys.executable, "-c", "input(); input(); input()"], "start_timeout_s": 0.5}, "within 0.5 s"),
        ({"url": "http://user:secret@127.0.0.1:9/mcp"}, "MCP server test (http://127.0.0.1:9/mcp) can't be reached: "),
    ],
)
async def test_a_server_that_does_not_start_says_why(options, told):
    """Soon, and in one line, with the last that it wrote; what may be secret is left out."""
    begun = time.monotonic()
    with pytest.raises(ToolError) as error:
        async with McpServer("test", **options):
            raise AssertionError
    assert error.value.fault == "unavailable"
    assert told in str(error.value)
    assert "secret" not in str(error.value)
    assert time.monotonic() - begun < 15


async def test_a_start_may_be_cancelled(tmp_path):
    """The child is ended, and the server can be entered again."""
    code = "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid())); input(); input(); input()"
    server = McpServer("test", command=[sys.executable, "-c", code, str(tmp_path / "pid")])
    for _ in range(2):
        entering = asyncio.create_task(server.__aenter__())
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            await asyncio.sleep(0.01)
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
        assert not alive((tmp_path / "pid").read_text())
        (tmp_path / "pid").unlink()


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
