"""`callboard keys`: what it makes, what it leaves alone, what it never shows; and what the servers make of it."""

import asyncio
import json
import os
import re
import signal
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner
from servers.locked_nats import locked, served

from callboard.bus import jetstream
from callboard.bus.credentials import make, read
from callboard.bus.door import Door
from callboard.bus.errors import Unavailable
from callboard.bus.log import Write
from callboard.bus.server import EmbeddedServer
from callboard.bus.server_binary import nats_server
from callboard.deploy.cli import callboard as command
from callboard.deploy.keys.folder import Keys
from callboard.events.errors import InvalidInput

A_SECRET = re.compile(r"\bSU[A-Z2-7]{56}\b|PRIVATE")


def call(*words, code=0) -> str:
    told = CliRunner().invoke(command, ["keys", *map(str, words)])
    assert told.exit_code == code, told.output
    assert not A_SECRET.search(told.output)
    return told.output


def held(folder) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


async def test_keys_are_made_and_nothing_secret_is_shown(tmp_path):
    """A key for each role, for its owner alone; no secret in what is printed, nor in any file that others may read."""
    folder = tmp_path / "keys"
    told = call("init", folder, "--tenant", "acme", "--backend", "deepseek", "--host", "n1", "--host", "10.0.0.7")
    assert "acme/router.key: router of acme" in told
    assert "next: bring" in told
    names = {"operator", "publisher", "router", "agents", "auditor", "backend-deepseek"}
    assert {file.stem for file in (folder / "acme").iterdir()} == names
    for file in folder.rglob("*"):
        if file.is_file() and A_SECRET.search(file.read_text()):
            assert file.suffix == ".key"
            assert file.stat().st_mode & 0o777 == 0o600
    assert {str(read(folder / "acme" / f"{name}.key").holder) for name in names} == {
        f"role {name} of acme" for name in names
    }
    assert '"tls://n1:6222", "tls://10.0.0.7:6222"' in (folder / "server" / "cluster.conf").read_text()
    for conf in ("nats-server.conf", "cluster.conf"):
        checked = await asyncio.create_subprocess_exec(
            str(await nats_server()), "-t", "-c", str(folder / "server" / conf), "--name", "n1",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, said = await checked.communicate()
        assert checked.returncode == 0, said
    assert "holds keys already" in call("init", folder, "--tenant", "acme", code=1)
    assert "a tenant can't be called server" in call("init", tmp_path / "b", "--tenant", "server", code=1)
    assert "tenant 'a.b' is not valid" in call("init", tmp_path / "b", "--tenant", "a.b", code=1)


def test_what_is_added_leaves_the_rest_alone(tmp_path):
    """A tenant, a backend, a new key: no other key file changes, and each says what to do next."""
    folder = tmp_path / "keys"
    call("init", folder, "--tenant", "acme")
    before = held(folder)
    told = call("add-tenant", "globex", "--folder", folder)
    assert "globex/auditor.key" in told
    assert "nats-server --signal reload" in told
    call("add-backend", "gpt", "--tenant", "acme", "--folder", folder)
    after = held(folder)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"keys.json", "server/accounts.conf"}
    assert {name.split("/")[0] for name in after.keys() - before.keys()} == {"globex", "acme"}
    assert "which tenant? Say --tenant" in call("rotate", "router", "--folder", folder, code=1)
    assert "revoke router" in call("rotate", "router", "--tenant", "acme", "--folder", folder)
    assert held(folder)["acme/router.key"] != before["acme/router.key"]
    listed = json.loads(call("list", "--folder", folder, "--json"))
    assert [key["replaced"] for key in listed["keys"] if (key["tenant"], key["role"]) == ("acme", "router")] == [
        True, False,
    ]  # fmt: skip
    assert "replaced" in call("list", "--folder", folder)
    assert "no longer a key of router" in call("revoke", "router", "--tenant", "acme", "--folder", folder)
    assert "no key of router of acme was replaced" in call(
        "revoke", "router", "--tenant", "acme", "--folder", folder, code=1
    )
    for words, why in (
        (("add-tenant", "acme"), "there is a tenant 'acme' already"),
        (("add-backend", "gpt", "--tenant", "acme"), "has a key for the backend 'gpt'"),
        (("add-backend", "x", "--tenant", "nobody"), "no tenant 'nobody'"),
        (("rotate", "king", "--tenant", "acme"), "no key of 'king' in acme"),
    ):
        assert why in call(*words, "--folder", folder, code=1)
    assert "`callboard keys init" in call("list", "--folder", tmp_path, code=1)
    old = (folder / "server" / "server.pem").read_bytes()
    call("rotate", "server", "--folder", folder)
    assert (folder / "server" / "server.pem").read_bytes() != old


async def test_a_key_is_replaced_while_its_holder_works(tmp_path):
    """At a reload connections stay; the new key is good at once, the old one until it is revoked."""
    async with locked(tmp_path / "keys", tenants=("acme",), backends=()) as nats:
        keys = Keys(nats.folder, datetime.now(UTC))
        operator, old = await nats.bus("operator"), await nats.bus("auditor")
        router = await nats.bus("router")
        lost = []
        for bus in (operator, old, router):
            bus._wire.on_lost.append(lambda bus=bus: lost.append(bus))
        keys.rotate("acme", "auditor", at_once=False)
        await nats.reload()
        new = await nats.bus("auditor")
        assert await operator.log.append(Write("evt.1.task.a.submitted", b"x", 0)) == 1
        assert (await old.log.end(), await new.log.end()) == (1, 1)
        assert lost == []
        keys.add_backend("acme", "late")
        await nats.reload()
        assert await router.log.append(Write("evt.1.task.a.parked", b"x", 1)) == 2
        assert (await nats.wire("backend-late")).connected
        keys.revoke("acme", "auditor")
        await nats.reload()
        old._api._timeout_s = 0.5
        with pytest.raises(Unavailable, match="refuses the key of role auditor of acme: 'Authorization Violation'"):
            await old.log.end()
        assert await new.log.end() == 2
        assert lost == [old]
        log = (nats.folder / "nats.log").read_text()
        seeds = [json.loads(file.read_text())["seed"] for file in (nats.folder / "acme").glob("*.key")]
        assert not [seed for seed in seeds if seed in log]


async def test_a_connection_by_tls_is_closed_whole_though_the_server_says_nothing(tmp_path):
    """TLS ends when both sides said so; a server that hangs never does, and the socket would be left open."""
    async with locked(tmp_path / "keys", tenants=("acme",), backends=()) as nats:
        wire = await nats.wire("operator")
        socket = wire._client._transport._bare_io_writer.transport
        os.kill(nats.pid, signal.SIGSTOP)
        try:
            await wire.aclose()
            assert socket.is_closing()
        finally:
            os.kill(nats.pid, signal.SIGCONT)


async def test_who_is_not_let_in_is_told_why_in_one_line(tmp_path):
    """No key, a strange one, another authority's server, one whose time is over or that is called otherwise."""
    folder = tmp_path / "keys"
    stranger = make("acme", "operator")
    async with locked(folder, tenants=("acme",), backends=()) as nats:
        key, ca = nats.key("operator"), nats.ca
        Keys(tmp_path / "another", datetime.now(UTC)).init(("acme",), (), ("localhost",), None, "x")
        plain = nats.url.replace("tls", "nats")
        for url, credentials, authority, why in (
            (nats.url, None, ca, "wants to know who comes: set credentials"),
            (nats.url, stranger, ca, "refuses the key of role operator of acme: 'Authorization Violation'"),
            (nats.url, key, None, "a certificate that is not believed .*name its authority by ca"),
            (nats.url, key, tmp_path / "another" / "ca.pem", "a certificate that is not believed .*is it in .*another"),
            (plain, key, None, "a certificate that is not believed"),
        ):
            with pytest.raises(Unavailable, match=why) as refused:
                await jetstream.connect(url, door=Door(credentials, authority), timeout_s=5)
            assert "\n" not in str(refused.value)
            assert stranger.seed not in str(refused.value)
        await (await jetstream.connect(plain, door=Door(key, ca))).aclose()
        (tmp_path / "empty.pem").touch()
        for file, why in (
            ("none.pem", "can't be read: No such file"),
            ("empty.pem", "no certificate authority in PEM"),
        ):
            with pytest.raises(InvalidInput, match=why):
                await jetstream.connect(nats.url, door=Door(key, tmp_path / file))
        environ = {"CALLBOARD_NATS_CREDENTIALS": str(nats.file("operator")), "CALLBOARD_NATS_CA": str(ca)}
        for env, code in (({}, 3), (environ, 0), ({**environ, "CALLBOARD_NATS_CREDENTIALS": str(tmp_path)}, 1)):
            run = asyncio.to_thread(CliRunner().invoke, command, ["tasks", "--url", nats.url, "--json"], env=env)
            told = await run
            assert told.exit_code == code, told.output
            assert len(told.output.splitlines()) == 1
    async with EmbeddedServer(tmp_path / "plain") as server:
        with pytest.raises(Unavailable, match="it does not speak TLS, which tls:// asks for"):
            await jetstream.connect(server.url.replace("nats://", "tls://"), door=Door(None, ca), timeout_s=5)
    with pytest.raises(Unavailable, match=r"refuses the connection: .*Connect call failed"):
        await jetstream.connect(nats.url, door=Door(key, ca), timeout_s=0.5)
    for host, made, why in (("127.0.0.2", 0, "IP address mismatch"), ("127.0.0.1", 500, "certificate has expired")):
        Keys(folder, datetime.now(UTC) - timedelta(days=made)).certify()
        async with served(folder, host=host) as nats:
            with pytest.raises(Unavailable, match=rf"not believed \({why}"):
                await jetstream.connect(nats.url, door=Door(key, ca), timeout_s=5)
