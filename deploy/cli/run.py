"""`callboard run`."""

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from callboard.deploy.cli.options import Where, as_json, where

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator

    from callboard.bus.log import Bus
    from callboard.deploy.agents_file import AgentsFile
    from callboard.deploy.cli.signals import Signals

LOOK_S = 0.3


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--reload/--no-reload", default=True, help="Begin anew when the file changes.  [default: reload]")
@where
@as_json
def run(file: Path, reload: bool, where: Where, as_json: bool) -> None:
    """Let the agents live here that the Python FILE defines, until SIGINT or SIGTERM.

    They are those that it has made by callboard.Agent or @callboard.agent, or imported. With no node running on the
    data folder one is started, as by `callboard up`. Several processes may run the same file: they share the agents,
    and those of one that ends go on in another.

    When FILE or a module beside it changes, what runs is interrupted, and goes on in the new code: steps that are done
    stay done.

    --json prints a line each time the agents are ready: {url, agents [names], pid}.
    """
    import asyncio
    import os

    from callboard.deploy import logs
    from callboard.deploy.agents_file import load
    from callboard.deploy.cli.modules import importable
    from callboard.deploy.secrets import secrets_of

    settings = where.settings()
    logs.configure(settings.telemetry.log_level, secrets=secrets_of(settings, os.environ))
    importable(where.config)
    asyncio.run(_run(load(file), file, where, reload=reload, as_json=as_json))


async def _run(found: "AgentsFile", file: Path, where: Where, *, reload: bool, as_json: bool) -> None:
    import asyncio

    from callboard.deploy.cli.signals import Signals
    from callboard.deploy.garbage import collect_seldom

    collect_seldom()
    signals = Signals()
    async with _bus_of(where, signals) as place:
        while place is not None and not signals.asked.is_set():
            serving = asyncio.create_task(_serve(*place, found, where, as_json=as_json))
            waiting = asyncio.create_task(_changed(found, file, look=reload))
            try:
                await signals.unless_asked(_first_of(serving, waiting))
                if waiting.done():
                    found = waiting.result()
            finally:
                for task in (serving, waiting):
                    task.cancel()
                await asyncio.gather(serving, waiting, return_exceptions=True)


async def _serve(bus: "Bus", url: str, found: "AgentsFile", where: Where, *, as_json: bool) -> None:
    """Let the agents live here until cancelled."""
    import asyncio
    import os
    import secrets

    from callboard.actors.agents.host import Host
    from callboard.bus.addresses import shown
    from callboard.deploy.cell_bus import neighbours
    from callboard.deploy.cli.printing import print_json
    from callboard.deploy.supervision import supervise

    names = [definition.name for definition in found.definitions]
    async with neighbours(where.settings(), bus.shards) as others, asyncio.TaskGroup() as group:
        host = Host(bus, secrets.token_hex(4), found.definitions, neighbours=others)
        group.create_task(supervise("agents", host.run))
        await host.ready.wait()
        if as_json:
            print_json({"url": shown(url), "agents": names, "pid": os.getpid()})
        else:
            click.echo(f"agents are ready: {', '.join(names)}")
            click.echo(f'write to them with: callboard send {names[0]} "Hello"')


async def _first_of(serving: "asyncio.Task[None]", changing: "asyncio.Task[AgentsFile]") -> None:
    import asyncio

    await asyncio.wait({serving, changing}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        serving.result()


async def _changed(found: "AgentsFile", file: Path, *, look: bool) -> "AgentsFile":
    """What the file defines after it has changed; a file that can't be run is left until it can."""
    import asyncio

    from callboard.deploy.agents_file import load, times_of
    from callboard.deploy.cli.printing import warn
    from callboard.events.errors import InvalidInput

    times = found.times
    while True:
        await asyncio.sleep(LOOK_S)
        if look and (now := times_of(times)) != times:
            times = now
            try:
                return load(file)
            except InvalidInput as error:
                warn(f"{error}; what ran goes on")


@asynccontextmanager
async def _bus_of(where: Where, signals: "Signals") -> "AsyncIterator[tuple[Bus, str] | None]":
    """A connection to the board that is meant, or to a node that is started for it; None if that was stopped."""
    import os

    from callboard.bus.server import running
    from callboard.deploy.cli.session import board_at
    from callboard.deploy.cli.up import started
    from callboard.deploy.connect import folder
    from callboard.deploy.nats_door import AGENTS

    url, data = where.address()
    if url or running(folder(data)):
        async with board_at(where, wanted=AGENTS) as place:
            if not place.alone:
                yield place.bus, place.url
                return
    async with started(where.settings(), (), os.environ, signals) as up:
        yield (up.node.bus, up.node.url) if up else None
