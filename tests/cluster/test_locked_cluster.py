"""Locked doors on three servers, by the configuration that `callboard keys` makes: what one lets through, all do."""

import asyncio
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime

import pytest
from servers import nats_binary

from callboard.bus import jetstream
from callboard.bus.credentials import read
from callboard.bus.door import Door
from callboard.bus.errors import Forbidden, Unavailable
from callboard.bus.log import Note, Write
from callboard.bus.server_binary import nats_server
from callboard.deploy.keys.folder import Keys

pytestmark = pytest.mark.cluster

SERVERS = ("n1", "n2", "n3")


def free_ports(number: int) -> list[int]:
    probes = [socket.socket() for _ in range(number)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@asynccontextmanager
async def cluster(folder):
    """Three servers on this machine; the addresses, in their order."""
    await nats_binary.needed()
    Keys(folder, datetime.now(UTC)).init(("acme",), ("deepseek",), ("localhost",), None, "STORE")
    ports = free_ports(6)
    text = (folder / "server" / "cluster.conf").read_text().replace("0.0.0.0", "127.0.0.1")
    routes = ", ".join(f'"tls://localhost:{port}"' for port in ports[3:])
    text = text.replace('routes: ["tls://localhost:6222"]', f"routes: [{routes}]")
    processes = []
    try:
        for name, port, route in zip(SERVERS, ports[:3], ports[3:], strict=True):
            conf = folder / "server" / f"{name}.conf"
            own = text.replace("4222", str(port)).replace("6222", str(route)).replace("STORE", str(folder / name))
            conf.write_text(own)
            process = await asyncio.create_subprocess_exec(
                str(await nats_server()), "-c", str(conf), "--name", name, "--log", str(folder / f"{name}.log"),
                stdin=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            processes.append(process)
        yield [f"tls://localhost:{port}" for port in ports[:3]]
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            await process.wait()


async def connected(url, folder, role):
    """A connection, as soon as the cluster has a leader."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await jetstream.connect(
                    url, door=Door(read(folder / "acme" / f"{role}.key"), folder / "ca.pem"), timeout_s=10
                )
            except Unavailable:
                await asyncio.sleep(0.2)


async def test_each_role_works_and_is_refused_on_any_server(tmp_path):
    """Whichever server one is connected to: requests, answers, queues and refusals are as with a single one."""
    folder = tmp_path / "keys"
    async with cluster(folder) as urls, AsyncExitStack() as stack:
        buses = {}
        for role, url in zip(("operator", "router", "auditor", "publisher"), [*urls, urls[0]], strict=True):
            buses[role] = await connected(url, folder, role)
            stack.push_async_callback(buses[role].aclose)
        operator, router, auditor, publisher = buses.values()
        await (await operator.queue("router", "evt.*.task.*.submitted")).aclose()
        seq = await operator.log.append(Write("evt.1.task.a.submitted", b"x", 0))
        queue = await router.queue("router", "evt.*.task.*.submitted")
        async with asyncio.timeout(20):
            async for delivery in queue.deliveries():
                assert delivery.record.subject == "evt.1.task.a.submitted"
                seq = await router.log.append(Write("evt.1.task.a.assigned.deepseek", b"y", seq))
                await delivery.ack()
                break
            while await queue.pending():
                await asyncio.sleep(0.05)
        follower = auditor.log.follow()
        seen = []
        async with asyncio.timeout(20):
            while len(seen) < 2:
                seen += [record.data for record in await anext(follower)]
        assert seen == [b"x", b"y"]
        await follower.aclose()
        with pytest.raises(Forbidden):
            await auditor.log.append(Write("evt.1.task.b.submitted", b"x", 0))
        with pytest.raises(Forbidden):
            await publisher.log.end()

        async def hand_over(note: Note) -> None:
            await router.signals.publish(note.reply, b"from the router")

        await operator.signals.subscribe("submit.task", hand_over)
        async with asyncio.timeout(20):
            while True:  # another server may not know yet that somebody listens
                try:
                    replied = await publisher._wire.request("submit.task", b"", timeout_s=1)
                except Unavailable:
                    await asyncio.sleep(0.2)
                else:
                    break
        assert replied.data == b"from the router"
