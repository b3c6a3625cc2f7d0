"""The command line where no node runs: not yet, no longer, or because it is being ended."""

import asyncio
import json
import signal
import socket
import subprocess
import threading

import pytest
from servers.working_directory import WAIT_S, Folder, end, submit_only

import callboard


@pytest.fixture
def empty(tmp_path):
    """A folder where no node has run."""
    return Folder(tmp_path)


def test_a_wrong_settings_file_is_told_line_by_line(empty):
    """Every mistake in the file is named with its line; doctor lists the same as failures."""
    (empty.path / "callboard.toml").write_text('[nats]\nfsnyc = "always"\n[router]\nmax_attempts = 0\n')
    told = empty.call("tasks", code=1).stderr.splitlines()
    assert told[0] == "callboard: callboard.toml:2: [nats] unknown key 'fsnyc'; did you mean 'fsync'?"
    assert told[1].startswith("callboard: callboard.toml:4: ")
    assert [finding["level"] for finding in empty.json("doctor", code=1)] == ["fail", "fail"]


def test_without_a_node_and_without_data_there_is_nothing_to_read(empty):
    """No folder and no node: exit code 3, and how to start one."""
    told = "callboard: no node runs here and ./.callboard holds nothing: start one with `callboard up`\n"
    assert empty.call("tasks", code=3).stderr == told
    assert empty.call("submit", "x", code=3).stderr == told
    assert "start one with `callboard up`" in empty.call("doctor").stdout


def test_an_address_where_nobody_answers_is_told(empty):
    """A server that hangs up: exit code 3, one line with its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def hang_up() -> None:
            while True:
                try:
                    listening.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=hang_up, daemon=True).start()
        told = empty.call("tasks", "--url", f"nats://127.0.0.1:{port}", code=3).stderr
        listening.shutdown(socket.SHUT_RDWR)
    assert f"callboard: NATS at nats://127.0.0.1:{port} refuses the connection" in told


def test_what_is_submitted_while_no_node_runs_is_done_later(empty):
    """The log of an ended node can be read and added to; a new node does what waits."""
    node, _ = empty.up()
    end(node)
    waiting = empty.call("submit", "later", "--backend", "echo", code=3)
    task = waiting.stdout.strip()
    assert "nothing works on it until `callboard up` runs" in waiting.stderr
    assert [row["id"] for row in empty.json("tasks", "--status", "submitted")["tasks"]] == [task]
    with pytest.warns(RuntimeWarning, match="nothing works on tasks until"):
        asyncio.run(submit_only(empty.path / ".callboard", "from python"))
    assert "this has no effect until `callboard up` runs" in empty.call("scale", "echo", "3").stderr
    node, started = empty.up()
    try:
        assert {backend["backend"]: backend["replicas"] for backend in started["backends"]}["echo"] == 3
        shown = empty.until(task, lambda shown: shown["status"] == "completed")
        assert shown["output"] == "LATER"
    finally:
        end(node)


def test_two_readers_of_an_ended_node_take_turns(empty):
    """Whoever opens the folder of an ended node makes others wait, and disturbs nobody."""
    node, _ = empty.up()
    end(node)
    readers = [empty.start("tasks", "--json") for _ in range(2)]
    assert [json.loads(reader.communicate(timeout=WAIT_S)[0])["tasks"] for reader in readers] == [[], []]


def test_a_second_signal_ends_a_node_at_once(empty):
    """The first lets a call under way finish, the second does not; the folder is free afterwards."""
    node, _ = empty.up()
    task = empty.submit("for ever", "--backend", "slow")
    empty.until(task, lambda shown: shown["status"] == "started")
    node.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        node.wait(0.5)
    end(node, code=130)
    assert empty.json("show", task)["status"] == "started"


async def test_connect_says_when_there_is_nothing(tmp_path):
    """Without a node and without data the error says how to start one."""
    with pytest.raises(callboard.CallboardError, match="start one with `callboard up`"):
        async with callboard.connect(data=str(tmp_path)):
            pass
