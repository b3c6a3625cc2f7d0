"""Locked doors on a real nats-server: each role does its work, is refused all else, and tenants are worlds apart."""

import asyncio
import json
import time
from contextlib import suppress
from hashlib import sha256

import pytest
from click.testing import CliRunner
from msgspec.structs import replace
from servers.locked_nats import locked

from callboard.actors.agents.definition import agent
from callboard.actors.agents.host import Host
from callboard.bus.credentials import ROLES, inbox
from callboard.bus.errors import BusError, Forbidden, Unavailable
from callboard.bus.filters import Filter
from callboard.bus.frames import block
from callboard.bus.log import Note, Write
from callboard.bus.permissions import called, grant, subscribes
from callboard.deploy.beyond_gate import BeyondGate
from callboard.deploy.cli import callboard as command
from callboard.deploy.nats_door import is_backends
from callboard.deploy.node import Node
from callboard.deploy.roles import ROLES as ROLES_OF_NODES
from callboard.deploy.settings import Backend, Nats, Settings
from callboard.events.context import Say
from callboard.events.money import Price

NARROWED = {role: ("backend-deepseek" if role == "backend" else role) for role in ROLES if role != "operator"}
BACKENDS = {"backend": "deepseek"}
STREAMS = ("EVENTS", "SUBMISSIONS", "TIMERS", "BLOBS", "SNAPSHOTS", "KEYS", "CHECKPOINTS")
ATTACKS = (
    *(f"$JS.API.STREAM.{verb}.{stream}" for stream in STREAMS for verb in (
        "CREATE", "UPDATE", "DELETE", "PURGE", "INFO", "MSG.GET", "MSG.DELETE", "SNAPSHOT", "RESTORE")),
    *(f"$JS.API.CONSUMER.{verb}.EVENTS{name}" for name in (".router", ".mail", ".backend-gpt", ".thief") for verb in (
        "CREATE", "DURABLE.CREATE", "DELETE", "INFO", "MSG.NEXT", "PAUSE", "UNPIN")),
    *(f"$JS.ACK.EVENTS.{name}.1.1.1.1.0" for name in ("router", "mail", "backend-gpt")),
    *(f"$JS.API.DIRECT.GET.{stream}" for stream in STREAMS),
    "$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST", "$SYS.REQ.SERVER.PING", "key.ada", "checkpoint.9",
    "blob.abc", "snapshot.name.projections", "timer.fired", "evt.1.task.t.completed.x", "evt.1.task.t.started",
    "evt.1.task.t.submitted", "evt.1.budget.b.granted", "evt.1.backend.b.registered", "evt.1.person.p.forgotten",
    "evt.1.approval.a.approved", "submit.task", "hb.gpt.r1", "gate.gpt.next", "told.gpt.x", "_INBOX.someone.x",
    "_R_.a.b", "host.me", "want.agent.x", "forget.ada", "ask.snapshot", "anything.else",
)  # fmt: skip
EARS = (
    ">", "*", "evt.>", "evt.1.>", "submit.>", "hb.>", "tok.*", "key.>", "blob.>", "told.>", "told.gpt.>", "gate.>",
    "_INBOX.>", "_INBOX.*.>", "_INBOX.someone.>", "_R_.>", "$JS.>", "$JS.API.>", "$JS.ACK.>", "$SYS.>", "timer.>",
    "host.*", "want.*.*", "forget.*", "answer.>", "snapshot.>", "checkpoint.*", "tenant.>",
)  # fmt: skip


@pytest.fixture
async def nats(tmp_path):
    async with locked(tmp_path / "keys") as running:
        yield running


def literal(pattern: str) -> str:
    return pattern.replace("*", "x").replace(">", "y.z")


async def test_each_role_is_refused_whatever_its_table_does_not_name(nats):
    """All that other roles may do, and what an attacker would try: said at once, and the connection stays."""
    everything = {literal(subject) for role in NARROWED for subject in grant(role, "gpt").publishes} | {*ATTACKS}
    everything |= {called(subject) for subject in everything}
    for role, stem in NARROWED.items():
        granted, key = grant(role, BACKENDS.get(role, "")), nats.key(stem)
        wire, denied = await nats.wire(stem), []
        wire.on_denied.append(lambda subject, _, denied=denied: denied.append(subject) or True)
        wire._apart = False  # as an attacker's client would, which calls subjects as it likes
        for subject in everything:
            wire.publish(subject, b"")
        await wire.flush()
        assert {*denied} == {subject for subject in everything if subject not in Filter(granted.publishes)}
        others = [f"{inbox(nats.key(other).public)}.>" for other in NARROWED.values() if other != stem]
        for subject in (*EARS, *others):
            stop = await wire.subscribe(subject, lambda *_: None)
            await wire.flush()
            if literal(subject) in Filter(subscribes(granted, key.public)):
                wire.check_heard(subject)
            else:
                with pytest.raises(Forbidden, match=f"does not let role {stem} of acme use the subject"):
                    wire.check_heard(subject)
            stop()
        assert wire.connected


async def test_what_is_refused_is_an_error_at_once_for_whoever_asked(nats):
    """A request, an append, one among many, a batch, a subscription: with subject and role, and no time-out."""
    operator, router, auditor = await nats.bus("operator"), await nats.bus("router"), await nats.bus("auditor")
    async with asyncio.timeout(4):
        with pytest.raises(Forbidden, match=r"role auditor of acme use the subject evt\.1\.task\.a\.completed"):
            await auditor.log.append(Write("evt.1.task.a.completed", b"x", 0))
        writes = [Write(f"evt.1.task.a{n}.parked", b"x", 0) for n in range(40)]
        writes[7] = writes[7]._replace(subject="evt.1.task.a7.started")
        told = await asyncio.gather(*(router.log.append(write) for write in writes), return_exceptions=True)
        assert [type(each) for each in told] == [Forbidden if n == 7 else int for n in range(40)]
        with pytest.raises(Forbidden, match=r"a7\.started"):
            await router.log.append_batch(writes)
        with pytest.raises(Forbidden, match=r"role router of acme use the subject submit\.task"):
            await router._wire.request("submit.task", b"{}", timeout_s=5)
        with pytest.raises(Forbidden, match=r"role router of acme use the subject _INBOX\.>"):
            await router.signals.subscribe("_INBOX.>", lambda _: None)
        with pytest.raises(BusError, match="there is no queue router yet: start a node with the operator's key first"):
            await router.queue("router", "evt.>")
    assert await operator.log.end() == 39
    assert await router.log.append(Write("evt.1.task.b.parked", b"x", 0)) == 40


async def test_nobody_writes_by_having_the_server_answer_where_they_may_not(nats):
    """A request's reply subject may name what its sender may not publish to: the log, a key, another's inbox."""
    operator = await nats.bus("operator")
    seq = await operator.log.append(Write("evt.1.task.a.submitted", b"said", 0))
    heard = []

    async def hear(note: Note) -> None:
        heard.append(note.subject)

    for subject in ("_INBOX.>", "evt.9.>", "key.>", "blob.>", "timer.>"):
        await operator.signals.subscribe(subject, hear)
    targets = ("evt.9.task.forged.completed", "key.ada", "blob.abc", "timer.set.x.y", "_INBOX.someone.x")
    for role in ("auditor", "router", "agents"):
        wire = await nats.wire(role)
        for target in targets:
            wire.publish("$JS.API.DIRECT.GET.EVENTS", b'{"seq":1}', reply=target)
            wire.publish("$JS.API.STREAM.INFO.EVENTS", b"", reply=target)
            wire.publish("$JS.API.STREAM.MSG.GET.EVENTS", b'{"seq":1}', reply=target)
        await wire.flush()
        await wire.request("$JS.API.STREAM.INFO.EVENTS", b"", timeout_s=5)  # what was asked before is answered
    await operator._wire.flush()
    assert heard == []
    assert await operator.log.end() == seq
    assert await operator.keys.names() == []


async def test_no_header_empties_a_stream(nats):
    """A rollup would take away what is there, a time to live what comes: whoever may publish has neither."""
    operator, agents, router = [await nats.bus(role) for role in ("operator", "agents", "router")]
    await operator.log.append(Write("evt.1.agent.a.taken", b"x", 0))
    sha = await operator.blobs.put(b"value")
    await operator.signals.publish("submit.task", b"{}")
    await operator.timers.set("kept", time.time_ns() + 10**12, b"x")
    before = [stream.messages for stream in (await operator.report()).streams]
    for bus in (agents, router):
        granted = grant(bus._wire.credentials.role)
        for subject in (*map(literal, granted.asks), f"blob.{sha}", "evt.1.agent.a.taken"):
            stored = subject.split(".")[0] in {"evt", "blob", "timer"}
            for fields in ({"Nats_Rollup": "all"}, {"Nats_Rollup": "sub"}, {"Nats_TTL": "1s"}) if stored else ():
                with suppress(Forbidden):
                    refused = await bus._wire.request(subject, b"x", timeout_s=5, headers=block(**fields))
                    assert b"not permitted" in refused.data or b"TTL is disabled" in refused.data
    publisher = await nats.wire("publisher")
    for subject in grant("publisher").asks:
        for how in ("all", "sub"):
            publisher.publish(subject, b"{}", headers=block(Nats_Rollup=how))
    await publisher.flush()
    assert [stream.messages for stream in (await operator.report()).streams] == before
    router._api._timeout_s = 0.1
    with pytest.raises(Unavailable, match="no node of the role timekeeper sets the timer k"):
        await router.timers.set("k", time.time_ns(), b"x")


async def test_who_may_store_values_can_write_over_none(nats):
    """An agents' host stores large values; what is there stays, and storing the same again is nothing new."""
    operator, agents = await nats.bus("operator"), await nats.bus("agents")
    large = b"large" * 200_000
    sha = await operator.blobs.put(large)
    assert await agents.blobs.put(large) == sha
    for subject in (f"blob.{sha}", f"blob.{sha}.1"):
        refused = await agents._wire.request(subject, b"forged", timeout_s=5)
        assert b"maximum messages per subject exceeded" in refused.data
    mine = await agents.blobs.put(b"mine" * 300_000)
    half = sha256(large + b"!").hexdigest()
    await agents._wire.request(f"blob.{half}.1", (large + b"!")[512 * 1024 :], timeout_s=5)  # cut off in the middle
    assert await operator.blobs.put(large + b"!") == half
    assert await agents.blobs.get(half) == large + b"!"
    assert (await operator.blobs.get(sha), await operator.blobs.get(mine)) == (large, b"mine" * 300_000)


async def test_a_leaked_publisher_key_reads_nothing(nats):
    """Not the log, no value, nobody's answers; it gets the answers to its own submissions."""
    operator, publisher = await nats.bus("operator"), await nats.bus("publisher")
    await operator.log.append(Write("evt.1.task.a.submitted", b"private", 0))
    sha = await operator.blobs.put(b"large")
    log = publisher.log

    async def all_of(batches):
        return [records async for records in batches]

    for reading in (
        log.end(),
        log.read("evt.1.task.a"),
        log.last("evt.1.task.a"),
        log.pick([1]),
        all_of(log.read_all()),
        all_of(log.follow()),
        publisher.blobs.get(sha),
        publisher.snapshots.load("projections"),
        publisher.keys.names(),
        publisher.checkpoints.read(),
        publisher.report(),
        publisher.signals.subscribe("evt.>", all_of),
        publisher.signals.subscribe("tok.*", all_of),
    ):
        with pytest.raises(Forbidden, match="role publisher of acme"):
            await reading

    async def answer(note: Note) -> None:
        await operator.signals.publish(note.reply, b"taken in: " + note.data)

    await operator.signals.subscribe("submit.task", answer)
    assert (await publisher._wire.request("submit.task", b"mine", timeout_s=5)).data == b"taken in: mine"


async def test_tenants_are_worlds_apart(nats):
    """The same subjects in another account: nothing of one is heard, read, counted or reached from the other."""
    ours, theirs = await nats.bus("operator"), await nats.bus("operator", "other")
    heard = []

    async def hear(note: Note) -> None:
        heard.append(note.subject)

    await theirs.signals.subscribe(">", hear)
    seq = await ours.log.append(Write("evt.1.task.a.submitted", b"ours", 0))
    sha = await ours.blobs.put(b"ours")
    await ours.signals.publish("tok.a", b"ours")
    wire = await nats.wire("publisher")
    wire.publish("submit.task", b"{}")
    await wire.flush()
    assert (seq, await theirs.log.end()) == (1, 0)
    assert await theirs.log.last("evt.1.task.a") is None
    with pytest.raises(BusError, match="no blob"):
        await theirs.blobs.get(sha)
    await theirs.log.append(Write("evt.1.task.a.submitted", b"theirs", 0))
    assert [record.data for record in await ours.log.read("evt.1.task.a")] == [b"ours"]
    auditor = await nats.bus("auditor", "other")
    assert [r.data async for records in auditor.log.read_all() for r in records] == [b"theirs"]
    await theirs._wire.flush()
    said = [subject for subject in heard if subject.split(".")[0] in {"evt", "submit", "tok", "blob"}]
    assert said == ["evt.1.task.a.submitted"]


async def test_a_router_takes_from_its_queue_only_what_is_its_own(nats):
    """What the operator made for it: it takes and acknowledges, and another role's queue is out of reach."""
    operator, router, agents = [await nats.bus(role) for role in ("operator", "router", "agents")]
    for name in ("router", "mail"):
        await (await operator.queue(name, "evt.*.task.*.submitted")).aclose()
    await operator.log.append(Write("evt.1.task.a.submitted", b"x", 0))
    queue = await router.queue("router", "evt.>")  # whatever it asks for, it gets what the operator made
    await agents.log.append(Write("evt.1.agent.b.taken", b"x", 0))
    async for delivery in queue.deliveries():
        assert delivery.record.subject == "evt.1.task.a.submitted"
        await delivery.ack()
        break
    while await queue.pending():
        await asyncio.sleep(0.01)
    with pytest.raises(Forbidden, match=r"CONSUMER\.INFO\.EVENTS\.mail"):
        await router.queue("mail", "evt.>")


def hello(request):
    """The model of the backend `deepseek`."""
    return f"hello {request.messages[-1].content}"


async def test_each_role_does_its_work_with_its_own_key(nats, tmp_path, monkeypatch, capfd):
    """An operator's node without a router, a router's node, an agents' host, a publisher, an auditor's commands."""

    @agent("clerk")
    async def clerk(turn, order: str):
        outcome = await turn.task("say", f"hello to {order}", backend="deepseek")
        await turn.change("log", "orders", Say("user", order))
        await turn.sleep("nap", 0.01)
        return outcome.output

    model = Backend(provider="callable", function=f"{__name__}:hello", price=Price(1, 1))
    locked_nats = Nats(url=nats.url, credentials=str(nats.folder / "acme"), ca=str(nats.ca))
    settings = Settings(data=str(tmp_path), nats=locked_nats, backends={"deepseek": model})
    others = tuple(role for role in ROLES_OF_NODES if role not in {"router", "http"})
    async with (
        Node(settings, roles=others, environ={}) as node,
        Node(settings, roles=("router",), environ={}) as routing,
    ):
        assert routing.bus._wire.credentials.role == "router"
        publisher, agents = await nats.bus("publisher"), await nats.bus("agents")
        late = b'{"input": "late", "delay_s": 0.3}'
        asked = (b'{"input": "world"}', b'{"input": "x", "policy": "none"}', late)
        told = [json.loads((await publisher._wire.request("submit.task", each, timeout_s=20)).data) for each in asked]
        assert (told[0]["status"], told[0]["output"]) == ("completed", "hello world")
        assert (told[1]["status"], told[1]["reason"][:14]) == ("rejected", "unknown policy")  # the router answers this
        assert told[2]["output"] == "hello late"  # woken by a timer that the router had set
        assert (await (await node.board.submit("again")).result()).output == "hello again"
        host = Host(agents, "host", [clerk])
        hosting = asyncio.create_task(host.run())
        try:
            async with asyncio.timeout(20):
                await host.ready.wait()
                assert await (await node.board.send("clerk", "ada")).result() == "hello hello to ada"
        finally:
            hosting.cancel()
            await asyncio.wait([hosting])
        for name, value in {
            "CALLBOARD_NATS_URL": nats.url,
            "CALLBOARD_NATS_CREDENTIALS": str(nats.file("auditor")),
            "CALLBOARD_NATS_CA": str(nats.ca),
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        task = told[0]["task"]
        for words in (("audit",), ("why", task), ("show", task), ("tasks",), ("costs",), ("backends",), ("replay",)):
            ran = await asyncio.to_thread(CliRunner().invoke, command, [*words, "--json"])
            assert ran.exit_code == 0, (words, ran.output)
        assert "refuses" not in capfd.readouterr().out  # as log lines would say
        ran = await asyncio.to_thread(CliRunner().invoke, command, ["scale", "deepseek", "2"])
        assert ran.exit_code == 1
        assert "does not let role auditor of acme use the subject evt." in ran.output
        assert len(ran.output.splitlines()) == 1


async def test_a_backend_works_with_its_own_key(nats, tmp_path):
    """Its calls come through the gate, which is where a process with no other key goes by itself."""
    far = Backend(provider="callable", function=f"{__name__}:hello", price=Price(1, 1), workers="remote")
    folder = Nats(url=nats.url, credentials=str(nats.folder / "acme"), ca=str(nats.ca))
    alone = replace(folder, credentials=str(nats.file("backend-deepseek")))
    roles = ("backend:deepseek",)
    assert is_backends(alone, {}, roles)
    assert not is_backends(folder, {}, roles)
    assert not is_backends(alone, {}, ("gate",))
    settings = Settings(data=str(tmp_path), nats=folder, backends={"deepseek": far})
    beyond = BeyondGate(replace(settings, nats=alone), roles=roles, environ={})
    async with Node(settings, roles=tuple(role for role in ROLES_OF_NODES if role != "http"), environ={}) as node:
        await beyond.start()
        try:
            assert (await (await node.board.submit("world")).result(20)).output == "hello world"
        finally:
            await beyond.stop()
