"""A NATS server of one's own whose password stands in its address: nothing that is printed holds it."""

import asyncio
import re
import signal

import pytest
from servers.nats_binary import needed
from servers.nats_with_users import PASSWORD, NatsWithUsers, url
from servers.working_directory import WAIT_S, Folder, end

from callboard.bus.errors import ServerError, Unavailable
from callboard.deploy.node import Node
from callboard.deploy.settings import Nats, Settings

AGENTS = """
import callboard

@callboard.agent("echo")
async def handle(turn: callboard.Turn, said: str) -> str:
    return said
"""


@pytest.fixture
async def nats(tmp_path):
    """The server."""
    await needed()
    (tmp_path / "nats").mkdir()
    server = NatsWithUsers(tmp_path / "nats")
    await server.start()
    yield server
    await server.kill()


@pytest.fixture
def folder(tmp_path, nats):
    """A folder whose settings have the address."""
    folder = Folder(tmp_path)
    (tmp_path / "agents.py").write_text(AGENTS)
    address = f'[nats]\nurl = "{url(nats.port, "operator")}"\n'
    (tmp_path / "callboard.toml").write_text(address + (tmp_path / "callboard.toml").read_text())
    return folder


async def test_no_command_prints_it(folder, nats):
    """Ready lines as JSON, the findings of `doctor`, and what is logged when the connection is lost."""
    shown = f"nats://127.0.0.1:{nats.port}"
    node, ready = await asyncio.to_thread(folder.serve, "up")
    try:
        agents, living = await asyncio.to_thread(folder.serve, "run", "agents.py")
        try:
            assert ready["url"] == living["url"] == shown
            found = (await asyncio.to_thread(folder.call, "doctor")).stdout
            assert f"at {shown}" in found
            await nats.kill()
            await nats.start()
            written = [folder.path / "up.err", folder.path / "run.err"]
            async with asyncio.timeout(WAIT_S):
                while not all("connected to NATS again" in file.read_text() for file in written):
                    await asyncio.sleep(0.05)
        finally:
            await asyncio.to_thread(end, agents)
    finally:
        await asyncio.to_thread(end, node)
    assert PASSWORD not in "".join([str(ready), str(living), found, *(file.read_text() for file in written)])


async def test_neither_do_ready_lines_for_people(folder, nats):
    """Nor do they say how to submit with an address that would not do."""
    with folder.start("up") as node:
        said = ""
        while "submit" not in said:
            line = await asyncio.to_thread(node.stdout.readline)
            assert line, node.stderr.read()
            said += line
        node.send_signal(signal.SIGTERM)
    assert said.startswith(f"Callboard is up at nats://127.0.0.1:{nats.port}, data in ")
    assert said.endswith('submit with: callboard submit --url URL "Say hello"\n')
    assert PASSWORD not in said


async def test_neither_does_a_node_that_has_no_server(nats, tmp_path):
    """Whoever asks for its process is told whose it is."""
    settings = Settings(data=str(tmp_path), nats=Nats(url=url(nats.port, "operator")))
    with pytest.raises(ServerError, match=re.escape(f"it uses nats://127.0.0.1:{nats.port}")):
        _ = Node(settings).server_pid


async def test_neither_does_a_refusal(nats, tmp_path):
    """Nor what was given instead."""
    settings = Settings(data=str(tmp_path), nats=Nats(url=url(nats.port, "nobody")))
    with pytest.raises(Unavailable, match="wants to know who comes") as caught:
        await Node(settings).start()
    assert PASSWORD not in str(caught.value)
