"""MCP servers that die and are started again, come back by themselves, are left, or never start."""

import asyncio
import functools
import os
import sys
import time

import mcp
import pytest
from servers.mcp_calls import COMMAND, Http, call, entered, failure

from callboard.actors.tools.contract import ToolError
from callboard.actors.tools.mcp_server import McpServer


def alive(pid: int | str) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
async def http():
    server = Http()
    await server.start()
    yield server
    server.stop()


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
