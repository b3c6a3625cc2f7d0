"""The embedded server as a process: its folder, its port, its death and return."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import nats
import pytest
from servers import nats_binary

from callboard.bus.errors import ServerError
from callboard.bus.server import EmbeddedServer, running
from callboard.events.errors import InvalidInput

PARENT = """
import asyncio, sys
from pathlib import Path
from callboard.bus.server import EmbeddedServer

async def main():
    async with EmbeddedServer(Path(sys.argv[1])) as server:
        print(server.pid, server.url, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
async def _binary() -> None:
    await nats_binary.needed()


@pytest.fixture
def parent(tmp_path):
    """A Python process with a server in ``tmp_path / data``, and what it printed: the server's pid and URL."""
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "data")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    pid, url = process.stdout.readline().split()
    yield process, int(pid), url
    process.kill()
    process.wait()
    process.stdout.close()


async def restarted(server: EmbeddedServer, times: int = 1) -> None:
    async with asyncio.timeout(20):
        while server.restarted < times:
            await asyncio.sleep(0.005)


def port_of(server: EmbeddedServer) -> int:
    return int(server.url.rpartition(":")[2])


async def answers(url: str) -> bool:
    host, _, port = url.removeprefix("nats://").partition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def gone(url: str) -> None:
    async with asyncio.timeout(20):
        while await answers(url):
            await asyncio.sleep(0.01)


async def test_start_and_stop(tmp_path):
    """After start it answers on loopback and the folder names it; after stop it's gone and the folder is free."""
    assert running(tmp_path / "data") is None
    async with EmbeddedServer(tmp_path / "data") as server:
        assert server.url.startswith("nats://127.0.0.1:")
        assert await answers(server.url)
        assert running(tmp_path / "data") == server.url
        pid = server.pid
    assert running(tmp_path / "data") is None
    assert not await answers(server.url)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(ServerError, match="not running"):
        _ = server.pid
    await server.stop()


async def test_start_again(tmp_path):
    """A stopped server can be started again; a running one can't."""
    server = EmbeddedServer(tmp_path)
    for _ in range(3):
        await server.start()
        with pytest.raises(ServerError, match="already"):
            await server.start()
        await server.stop()


async def test_a_second_server_on_the_folder(tmp_path):
    """It is refused in one line that names the folder, the process that holds it and its URL; the first goes on."""
    async with EmbeddedServer(tmp_path) as server:
        with pytest.raises(ServerError) as refused:
            await EmbeddedServer(tmp_path).start()
        assert all(part in str(refused.value) for part in (str(tmp_path), str(os.getpid()), server.url))
        assert "\n" not in str(refused.value)
        assert await answers(server.url)
        assert running(tmp_path) == server.url


async def test_a_killed_server_comes_back(tmp_path):
    """After kill -9 it is started again on the same port, with its data, as often as needed."""
    async with EmbeddedServer(tmp_path) as server:
        client = await nats.connect(server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.02, error_cb=ignore)
        jetstream = client.jetstream()
        await jetstream.add_stream(name="S", subjects=["s"])
        url, pids = server.url, {server.pid}
        for times in (1, 2, 3):
            await jetstream.publish("s", b"kept")
            os.kill(server.pid, signal.SIGKILL)
            await restarted(server, times)
            pids.add(server.pid)
            async with asyncio.timeout(10):
                while not client.is_connected or client.stats["reconnects"] < times:
                    await asyncio.sleep(0.01)
            assert (await jetstream.stream_info("S")).state.messages == times
        assert server.url == url == running(tmp_path)
        assert len(pids) == 4
        await client.close()


async def ignore(_error: Exception) -> None:
    """Lost connections are the point."""


async def test_the_server_dies_with_its_parent(tmp_path, parent):
    """When its parent is killed with -9 the server ends, and the folder can be used at once."""
    process, _, url = parent
    assert running(tmp_path / "data") == url
    with pytest.raises(ServerError, match=str(process.pid)):
        await EmbeddedServer(tmp_path / "data").start()
    process.kill()
    process.wait()
    async with EmbeddedServer(tmp_path / "data") as server:
        assert await answers(server.url)
    await gone(url)


async def test_interrupting_the_terminal_spares_the_server(parent):
    """The server has a session of its own, so a Ctrl-C meant for its parent doesn't reach it before the drain."""
    _, pid, _ = parent
    assert os.getsid(pid) != os.getsid(0)
    assert os.getpgid(pid) == pid


async def test_data_and_port_survive_a_restart(tmp_path):
    """A server on the same folder and a given port has the data of the one before."""
    async with EmbeddedServer(tmp_path) as server:
        port = port_of(server)
        client = await nats.connect(server.url)
        await client.jetstream().add_stream(name="S", subjects=["s"])
        await client.jetstream().publish("s", b"kept")
        await client.close()
    async with EmbeddedServer(tmp_path, port=port) as server:
        assert port_of(server) == port
        client = await nats.connect(server.url)
        assert (await client.jetstream().get_last_msg("S", "s")).data == b"kept"
        await client.close()


async def test_a_taken_port(tmp_path):
    """A given port that is taken is an error that names it, and leaves the folder free; port 0 finds another."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ServerError, match=f"port {port} .*taken"):
            await EmbeddedServer(tmp_path, port=port).start()
        assert running(tmp_path) is None
        async with EmbeddedServer(tmp_path) as server:
            assert port_of(server) != port


async def test_servers_that_start_at_once(tmp_path):
    """Servers on different folders that start at the same time get different ports."""
    servers = [EmbeddedServer(tmp_path / str(number)) for number in range(4)]
    await asyncio.gather(*(server.start() for server in servers))
    assert len({server.url for server in servers}) == 4
    assert [running(tmp_path / str(number)) for number in range(4)] == [server.url for server in servers]
    await asyncio.gather(*(server.stop() for server in servers))


async def test_a_race_for_one_folder(tmp_path):
    """Of servers that start at the same time on one folder, one gets it and the others are refused."""
    servers = [EmbeddedServer(tmp_path) for _ in range(4)]
    outcomes = await asyncio.gather(*(server.start() for server in servers), return_exceptions=True)
    assert sorted(map(repr, map(type, outcomes))) == sorted(map(repr, [type(None), *[ServerError] * 3]))
    for server in servers:
        await server.stop()
    assert running(tmp_path) is None


async def test_garbage_in_the_folder(tmp_path):
    """Old or broken files of its own don't keep a server from starting."""
    for name in ("nats-server.conf", "server.lock", "nats-server.err", "nats-server.log"):
        (tmp_path / name).write_bytes(b"\xff}{ garbage")
    assert running(tmp_path) is None
    async with EmbeddedServer(tmp_path) as server:
        assert running(tmp_path) == server.url


async def test_a_folder_with_an_odd_name(tmp_path):
    """Spaces, quotes and letters of any script in the folder's name are fine."""
    folder = tmp_path / "my \"data\" $HOME 'ü' 日本" / "deeper"
    async with EmbeddedServer(folder) as server:
        assert running(folder) == server.url
        assert (folder / "jetstream").is_dir()


async def test_a_relative_folder(tmp_path, monkeypatch):
    """A relative path means the working folder at the start."""
    monkeypatch.chdir(tmp_path)
    async with EmbeddedServer(Path("data")) as server:
        assert running(tmp_path / "data") == server.url


async def test_a_folder_that_is_a_file(tmp_path):
    """A file in the folder's place, or on the way to it, is an error that says so."""
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "data"):
        with pytest.raises(ServerError, match="file") as refused:
            await EmbeddedServer(folder).start()
        assert str(folder) in str(refused.value)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_a_folder_without_permission(tmp_path):
    """A folder that can't be written is an error that says what to do."""
    tmp_path.chmod(0o500)
    with pytest.raises(ServerError, match="right to write"):
        await EmbeddedServer(tmp_path / "data").start()
    tmp_path.chmod(0o700)


async def test_a_server_that_does_not_boot(tmp_path):
    """The error carries what nats-server said, and the folder is free again."""
    (tmp_path / "jetstream").write_text("a file where the store should be")
    with pytest.raises(ServerError, match="Can't start JetStream: storage directory") as refused:
        await EmbeddedServer(tmp_path).start()
    assert "\n" not in str(refused.value)
    assert running(tmp_path) is None
    (tmp_path / "jetstream").unlink()
    async with EmbeddedServer(tmp_path):
        pass


@pytest.mark.parametrize(("fsync", "interval_ns", "always"), [("always", None, True), ("250ms", 250_000_000, False)])
async def test_fsync_reaches_the_server(tmp_path, fsync, interval_ns, always):
    """The server itself reports the interval, or that it syncs always, and the largest message."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monitor = probe.getsockname()[1]
    async with (
        EmbeddedServer(tmp_path, fsync=fsync, monitor_port=monitor, max_payload=2 << 20, name="mine"),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{monitor}", trust_env=False) as http,
    ):
        state = (await http.get("/varz")).json()
    config = state["jetstream"]["config"]
    assert config.get("sync_always", False) is always
    assert interval_ns is None or config["sync_interval"] == interval_ns
    assert state["max_payload"] == 2 << 20
    assert state["server_name"].startswith("mine-")


@pytest.mark.parametrize("fsync", ["", "never", "0s", "100", "1s; port: 1", "always\n"])
async def test_a_wrong_fsync(tmp_path, fsync):
    """Anything but ``always`` or an interval is refused."""
    with pytest.raises(InvalidInput, match="100ms"):
        await EmbeddedServer(tmp_path, fsync=fsync).start()
    assert running(tmp_path) is None


async def test_a_server_that_keeps_dying(tmp_path):
    """It is tried again, ever more slowly, and comes back when the cause is gone."""
    async with EmbeddedServer(tmp_path) as server:
        store, away = tmp_path / "jetstream", tmp_path / "away"
        store.rename(away)
        store.write_text("a file where the store should be")
        os.kill(server.pid, signal.SIGKILL)
        await asyncio.sleep(0.3)
        assert server.restarted == 0
        store.unlink()
        away.rename(store)
        await restarted(server)
        assert await answers(server.url)
