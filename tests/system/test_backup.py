"""Backups of live systems, and what is made of them: real nodes on real servers."""

import asyncio
import errno
import json
import os
import signal
from contextlib import suppress
from hashlib import sha256

import pytest
from servers import nats_binary
from servers.working_directory import Folder, end

from callboard.actors.auditor import audit
from callboard.actors.rearming import rearm
from callboard.actors.task_handle import TaskFailed
from callboard.bus import jetstream
from callboard.bus.api import Answer
from callboard.bus.backup.manifest import MANIFEST, BadBackup
from callboard.bus.backup.restoring import NotEmpty, plan
from callboard.bus.backup.transfer import take
from callboard.bus.errors import BusError, Unavailable
from callboard.bus.log import Write
from callboard.bus.server import EmbeddedServer
from callboard.bus.streams import BLOBS, EVENTS, KEYS, TIMERS
from callboard.deploy.node import Node
from callboard.deploy.restoring import restore
from callboard.deploy.settings import Backend, Nats, Privacy, Settings, Telemetry
from callboard.events.task import Status
from callboard.projections.audit import Options

LARGE = "long " * 20_000
"""So large that it is kept as a blob."""

ECHO, SLOW = {"capabilities": ["echo"]}, {"capabilities": ["slow"]}


@pytest.fixture(autouse=True, scope="module")
def _nats_server():
    asyncio.run(nats_binary.needed())


def settings(folder, **fields):
    function = "servers.callable_backends:"
    backends = {
        name: Backend(
            provider="callable",
            function=f"{function}{name}",
            capabilities=("chat", name),
            concurrency=32,
            context=10**6,
        )
        for name in ("echo", "slow")
    }
    quick = {"nats": Nats(fsync="100ms"), "telemetry": Telemetry(traces="off"), "backends": backends}
    return Settings(data=str(folder), **(quick | fields))


async def test_a_backup_under_load_is_a_log_that_goes_on(tmp_path):
    """Every task that was there is there, done or not; what was not done is done there; and the audit finds nothing."""
    submitted: dict[str, int] = {}
    async with Node(settings(tmp_path / "old")) as node:

        async def load() -> None:
            for number in range(10**6):
                task = await node.board.submit(f"number {number}", needs=SLOW if number % 4 else ECHO)
                submitted[task.id] = number
                if not number % 50:
                    submitted[(await node.board.submit(LARGE, needs=SLOW)).id] = -1

        loading = asyncio.create_task(load())
        while len(submitted) < 100:
            await asyncio.sleep(0.01)
        before = dict(submitted)
        made = await node.bus.back_up(tmp_path / "backup", version="1")
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
        assert await node.bus.log.end() >= made.of(EVENTS).state.last_seq
    states = (await restored(tmp_path / "backup", tmp_path / "new")).states
    assert states[EVENTS].last_seq == states[EVENTS].messages == made.of(EVENTS).state.last_seq
    assert {queue.name for queue in made.queues} >= {"router", "backend-echo", "backend-slow"}
    async with Node(settings(tmp_path / "new")) as node:
        for name, number in before.items():
            outcome = await (await node.board.task(name)).result(30)
            expected = f"NUMBER {number}" if not number % 4 else "one two three"
            assert (outcome.status, outcome.output) == (Status.COMPLETED, expected)
        again = await node.board.submit("again", needs=ECHO)
        assert (await again.result(10)).output == "AGAIN"
        assert (await audit(node.bus, Options())).result == "clean"


async def restored(backup, data, **how):
    """Make a data folder of a backup, in which the audit finds nothing wrong."""
    async with EmbeddedServer(data, fsync="1s") as server:
        bus = await jetstream.connect(server.url, make=False)
        try:
            done = await restore(bus, plan(backup, **how), Options())
        finally:
            await bus.aclose()
    assert done.report.result == "clean"
    return done


async def test_queues_go_on_where_they_were(tmp_path):
    """What was done is not handed out again; what was not is."""
    async with EmbeddedServer(tmp_path / "a", fsync="1s") as old, EmbeddedServer(tmp_path / "b", fsync="1s") as new:
        bus = await jetstream.connect(old.url)
        queue = await bus.queue("router")
        await bus.queue("idle", "evt.*.task.>")
        await asyncio.gather(*(bus.log.append(Write(f"evt.1.task.t{n}.submitted", b"{}", 0)) for n in range(20)))
        async for delivery in queue.deliveries():
            await delivery.ack()
            if delivery.record.seq == 12:
                break
        await bus.report()  # the server has seen the acknowledgements before it answers
        await bus.back_up(tmp_path / "backup", version="1")
        await bus.aclose()
        bus = await jetstream.connect(new.url, make=False)
        await bus.restore(plan(tmp_path / "backup"))
        for name, first in (("router", 13), ("idle", 1)):
            taken = (await bus.queue(name, *(["evt.*.task.>"] if name == "idle" else []))).deliveries()
            assert (await anext(taken)).record.seq == first
        await bus.aclose()


async def test_what_waits_for_a_time_is_woken(tmp_path):
    """Timers are set again from the log, also those that no copy has."""
    async with Node(settings(tmp_path / "old")) as node:
        due = await node.board.submit("for ever", needs=SLOW, timeout_s=1)
        later = await node.board.submit("later", needs=ECHO, delay_s=1)
        asked = await node.board.ask("delete it", expires_s=1)
        await node.board.schedule("hourly", "0 * * * *", "tick")
        done = await node.board.submit("done", needs=ECHO, timeout_s=600)
        await done.result(10)
        await node.bus.back_up(tmp_path / "backup", version="1")
    async with EmbeddedServer(tmp_path / "new", fsync="1s") as server:
        bus = await jetstream.connect(server.url, make=False)
        await bus.restore(plan(tmp_path / "backup"))
        await bus._api.call(f"STREAM.PURGE.{TIMERS}", None, Answer)
        assert await rearm(bus) == 4
        assert await rearm(bus) == 4
        [timers] = [each for each in (await bus.report()).streams if each.name == TIMERS]
        assert timers.messages == 4
        await bus.aclose()
    async with Node(settings(tmp_path / "new")) as node:
        assert (await (await node.board.task(later.id)).result(20)).output == "LATER"
        assert (await node.board.approval(asked.id).result(20)).status == "expired"
        with pytest.raises(TaskFailed, match="expired"):
            await (await node.board.task(due.id)).result(20)


async def test_a_backup_that_is_not_whole_is_refused(tmp_path):
    """Cut off, altered, unfinished, incomplete: each is one line, before anything is made."""
    backup = await small(tmp_path)
    log, listed = backup / f"{EVENTS}.snapshot", backup / MANIFEST
    good, manifest = log.read_bytes(), listed.read_bytes()
    log.write_bytes(good[:-7])
    refused(backup, r"EVENTS.snapshot has .* bytes, it was written with .*: it is cut off or altered")
    log.write_bytes(good[:50] + bytes([good[50] ^ 1]) + good[51:])
    refused(backup, r"EVENTS.snapshot was altered: its SHA-256 is not that of the manifest")
    log.unlink()
    refused(backup, r"EVENTS.snapshot is missing, and the manifest names it")
    log.write_bytes(good)
    plan(backup)
    listed.write_bytes(manifest.replace(b'"EVENTS"', b'"EVENT"'))
    refused(backup, "it names no copy of EVENTS")
    listed.write_bytes(manifest.replace(b'"EVENTS.snapshot"', b'"../EVENTS.snapshot"'))
    refused(backup, "is no file in this folder")
    listed.write_bytes(manifest.replace(b'"format": 1', b'"format": 2'))
    refused(backup, "has format 2, this Callboard reads 1")
    listed.write_bytes(manifest[:-9])
    refused(backup, "not what `callboard backup` wrote")
    listed.unlink()
    refused(backup, "is no whole backup: there is no manifest.json in it")


async def test_a_forged_backup_leaves_nothing_behind(tmp_path):
    """One whose manifest fits what was altered is refused by the server, or by what it then holds."""
    backup = await small(tmp_path)
    log, listed = backup / f"{EVENTS}.snapshot", backup / MANIFEST
    forged = log.read_bytes()[:-40]
    log.write_bytes(forged)
    manifest = json.loads(listed.read_bytes())
    for copy in manifest["streams"]:
        if copy["stream"] == EVENTS:
            copy |= {"size": len(forged), "sha256": sha256(forged).hexdigest()}
    listed.write_text(json.dumps(manifest))
    async with EmbeddedServer(tmp_path / "new", fsync="1s") as server:
        bus = await jetstream.connect(server.url, make=False)
        with pytest.raises(BusError, match="EVENTS: restoring it: the server refuses"):
            await bus.restore(plan(backup))
        with pytest.raises(BusError, match="stream not found"):
            await bus.report()
        await bus.aclose()


async def test_nothing_is_written_over(tmp_path):
    """Neither a log nor a backup; streams that never held anything are no log."""
    backup = await small(tmp_path)
    async with EmbeddedServer(tmp_path / "new", fsync="1s") as server:
        bus = await jetstream.connect(server.url)
        with pytest.raises(BadBackup, match="is not empty: name a folder that is not there yet"):
            await bus.back_up(backup, version="1")
        await bus.restore(plan(backup))
        with pytest.raises(NotEmpty, match="the stream EVENTS is in use there, and nothing is written over"):
            await bus.restore(plan(backup))
        assert len(await bus.log.read("evt.1.task.a")) == 1
        await bus.aclose()


async def small(tmp_path):
    """A backup of a log with a few messages."""
    async with EmbeddedServer(tmp_path / "small", fsync="1s") as server:
        bus = await jetstream.connect(server.url)
        for name in "abc":
            await bus.log.append(Write(f"evt.1.task.{name}.submitted", os.urandom(500), 0))
        await bus.back_up(tmp_path / "backup", version="1")
        await bus.aclose()
    return tmp_path / "backup"


def refused(backup, why: str) -> None:
    with pytest.raises(BadBackup, match=why) as refusal:
        plan(backup)
    assert "\n" not in str(refusal.value)


async def test_who_was_forgotten_stays_so_with_the_keys_of_a_newer_backup(tmp_path):
    """A backup has the keys of its time; of an older one with the keys of a newer one, less can be read."""
    key = "11" * 32
    private = Privacy(master_key_env="KEY")
    async with Node(settings(tmp_path / "old", privacy=private), environ={"KEY": key}) as node:
        tasks = {}
        for person in ("ann", "bob"):
            tasks[person] = await node.board.submit(f"about {person}", needs=ECHO, private=person)
            await tasks[person].result(10)
        await node.bus.back_up(tmp_path / "older", version="1")
        await node.bus.back_up(tmp_path / "bare", version="1", without_keys=True)
        await node.board.forget("ann")
        await node.bus.back_up(tmp_path / "newer", version="1")
    refused(tmp_path / "bare", "holds no keys of persons: give --keys and a later backup that does, or --without-keys")
    with pytest.raises(BadBackup, match=r"is older than .*: keys of persons that came later are not in it"):
        plan(tmp_path / "newer", keys=tmp_path / "older")
    for data, backup, how, known in (
        ("a", "older", {}, {"ann", "bob"}),
        ("b", "bare", {"keys": tmp_path / "newer"}, {"bob"}),
        ("c", "newer", {}, {"bob"}),
    ):
        done = await restored(tmp_path / backup, tmp_path / data, **how)
        assert done.states[KEYS].messages == len(known)
        assert done.forgotten == (("ann",) if data == "b" else ())
    assert (await restored(tmp_path / "older", tmp_path / "d", keys=tmp_path / "newer")).forgotten == ("ann",)
    async with Node(settings(tmp_path / "d", privacy=private), environ={"KEY": key}) as node:
        assert await node.bus.keys.names() == ["bob"]
        assert (await (await node.board.task(tasks["bob"].id)).result(10)).output == "ABOUT BOB"
        assert (await (await node.board.task(tasks["ann"].id)).result(10)).output == "[forgotten: ann]"
        assert (await (await node.board.submit("new", needs=ECHO, private="ann")).result(10)).output == "NEW"
    (tmp_path / "older" / f"{KEYS}.snapshot").unlink()
    refused(tmp_path / "older", "holds no keys of persons")
    bare = await restored(tmp_path / "older", tmp_path / "e", without_keys=True)
    assert KEYS not in bare.states
    assert bare.forgotten == ()


async def test_what_is_purged_meanwhile_is_whole_or_not_there(tmp_path):
    """No entity is there in part: what was copied while a purge went on is copied again, or refused."""
    async with EmbeddedServer(tmp_path / "old", fsync="1s") as server:
        bus = await jetstream.connect(server.url)
        for start in range(0, 12_000, 1000):
            many = (Write(f"evt.1.task.t{n}.submitted", b"x" * 200, 0) for n in range(start, start + 1000))
            await bus.log.append_batch([*many])
        stop = asyncio.Event()

        async def purge() -> int:
            for number in range(12_000):
                await bus.hot.purge(f"evt.1.task.t{number}.submitted", upto=number + 1)
                if stop.is_set():
                    return number
            return -1

        purging = asyncio.create_task(purge())
        with pytest.raises(BadBackup, match="EVENTS: 3 times messages were taken away while it was copied"):
            await bus.back_up(tmp_path / "backup", version="1")
        stop.set()
        assert await purging > 0
        made = await bus.back_up(tmp_path / "again", version="1")
        assert made.purged == await bus.hot.missing()
        await bus.aclose()
    refused(tmp_path / "backup", "is no whole backup")


def test_from_the_command_line(tmp_path):
    """Backup of a node that runs, restore into a folder; what is wrong is one line."""
    folder = Folder(tmp_path)
    node, _ = folder.up()
    try:
        task = folder.json("submit", "hello", "--backend", "echo", "--wait")["task"]
        made = folder.json("backup", "safe")
        assert made["streams"][4]["stream"] == EVENTS
        assert (tmp_path / "safe" / MANIFEST).stat().st_mode & 0o777 == 0o600
        assert "is in use there" in folder.call("restore", "safe", code=1).stderr
    finally:
        end(node)
    done = folder.json("restore", "safe", "--data", "other")
    assert done["audit"]["result"] == "clean"
    assert done["streams"][EVENTS]["messages"] == made["streams"][4]["state"]["messages"]
    assert folder.json("show", task, "--data", "other")["output"] == "HELLO"
    stopped = folder.call("backup", "of-a-stopped-one", "--data", "other").stdout
    assert "of-a-stopped-one is a backup of the log up to" in stopped
    assert "no whole backup" in folder.call("restore", "other", "--data", "third", code=1).stderr
    assert not (tmp_path / "third").exists()


async def test_a_copy_that_breaks_off_is_told(tmp_path):
    """The server dies, or the disk is full, after the first part."""
    async with EmbeddedServer(tmp_path / "old", fsync="1s") as server:
        bus = await jetstream.connect(server.url)
        await asyncio.gather(*(bus.blobs.put(os.urandom(2**20)) for _ in range(24)))

        def full(_part: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        pid = server.pid

        def kill(_part: bytes) -> None:
            with suppress(ProcessLookupError):  # of a part that was under way already
                os.kill(pid, signal.SIGKILL)

        with pytest.raises(OSError, match="No space left"):
            await take(bus._api, BLOBS, full)
        with pytest.raises(Unavailable, match="BLOBS: the connection was lost while it was copied: try again"):
            await take(bus._api, BLOBS, kill)
        await bus.back_up(tmp_path / "backup", version="1")
        await bus.aclose()
    assert plan(tmp_path / "backup").sources[BLOBS][1].state.messages == 24 * 2
