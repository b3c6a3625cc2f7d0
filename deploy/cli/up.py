"""`callboard up`."""

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from callboard.deploy.cli.options import Where, as_json, where

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from callboard.deploy.cli.signals import Signals
    from callboard.deploy.node import Node
    from callboard.deploy.settings import Backend, Settings


@click.command()
@click.option("--role", "roles", metavar="ROLE", multiple=True, help="Run only this; several times.  [default: all]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port of the NATS server inside; 0 is a free one.")
@click.option("--listen", metavar="HOST:PORT", help="Serve HTTP there, too; port 0 is a free one.")
@click.option("--through-gate", is_flag=True, help="With --role backend:NAME: work through the gate, without the log.")
@click.option("--slots", type=click.IntRange(1), help="Calls at a time, through the gate.  [default: as registered]")
@where
@as_json
def up(
    roles: tuple[str, ...],
    port: int | None,
    listen: str | None,
    through_gate: bool,
    slots: int | None,
    where: Where,
    as_json: bool,
) -> None:
    """Run a node until SIGINT or SIGTERM: its own NATS server, or a connection to the one at --url, and the actors.

    ROLE is intake, router, timekeeper, backends, gate, traces, archiver, notary, scaler or http, or backend:NAME for
    the workers of one backend. http needs an address to listen on: it is refused without one when it is named, and left
    out when all are meant. With --through-gate, or the key of that backend, these make its calls, and neither read
    the log nor write to it.

    The first signal lets calls under way finish for ten seconds; a second one ends the node at once. Without backends
    in the settings file, those that the environment offers are used: API keys, Ollama, llama.cpp.

    Functions of callable backends are looked for beside the settings file.

    --json prints one line when the node is ready: {url (without user and password), http, data, fsync, pid, roles,
    backends [{backend, provider, model, url, callable, price, replicas}], left_out {backend: variable}}, or, through
    the gate, {pid, roles, backend}.
    Log lines go to standard error.
    """
    import asyncio
    import os

    from msgspec.structs import replace

    from callboard.deploy import logs
    from callboard.deploy.cli.modules import importable
    from callboard.deploy.nats_door import is_backends
    from callboard.deploy.secrets import secrets_of
    from callboard.deploy.settings_values import listen as read_listen

    settings = where.settings()
    if port is not None:
        if settings.nats.url:
            raise click.UsageError("--port is for the NATS server inside: leave it out, or the url")
        settings = replace(settings, nats=replace(settings.nats, port=port))
    if listen is not None:
        settings = replace(settings, http=replace(settings.http, listen=read_listen(listen, "--listen")))
    logs.configure(settings.telemetry.log_level, secrets=secrets_of(settings, os.environ))
    importable(where.config)
    if through_gate or is_backends(settings.nats, os.environ, roles):
        asyncio.run(_beyond_gate(settings, roles, os.environ, slots or 0, as_json=as_json))
        return
    if slots:
        raise click.UsageError("--slots is for a backend that works --through-gate: set concurrency instead")
    asyncio.run(_up(settings, roles, os.environ, as_json=as_json))


class Started(NamedTuple):
    """A node, its settings with the backends that it has, and those that lack a variable of the environment."""

    node: "Node"
    settings: "Settings"
    left_out: dict[str, str]


@asynccontextmanager
async def started(
    settings: "Settings", roles: tuple[str, ...], environ: "Mapping[str, str]", signals: "Signals"
) -> "AsyncIterator[Started | None]":
    """A node that is stopped in the end; None if it was told to while it started."""
    from callboard.deploy.cli.printing import warn, working
    from callboard.deploy.connect import visitors_gone
    from callboard.deploy.garbage import collect_seldom
    from callboard.deploy.node import Node

    settings, left_out = await _with_backends(settings, roles, environ)
    for name, variable in left_out.items():
        warn(f"backend {name} is left out: the environment has no {variable}")
    node = Node(settings, roles=roles or None, environ=environ)
    with working("Starting"):
        if not settings.nats.url:
            await visitors_gone(settings.data_folder)
        up = await signals.unless_asked(node.start())
    if not up:
        yield None
        return
    collect_seldom()
    try:
        yield Started(node, settings, left_out)
    finally:
        await node.stop()


async def _up(settings: "Settings", roles: tuple[str, ...], environ: "Mapping[str, str]", *, as_json: bool) -> None:
    from callboard.deploy.cli.printing import warn
    from callboard.deploy.cli.signals import Signals

    signals = Signals()
    async with started(settings, roles, environ, signals) as up:
        if up is None:
            return
        _announce(up.node, up.settings, up.left_out, as_json=as_json)
        await signals.asked.wait()
        if not as_json:
            warn("stopping: calls under way may finish; a second signal ends it at once")


async def _beyond_gate(
    settings: "Settings", roles: tuple[str, ...], environ: "Mapping[str, str]", slots: int, *, as_json: bool
) -> None:
    import os

    from callboard.deploy.beyond_gate import BeyondGate
    from callboard.deploy.cli.printing import print_json, warn
    from callboard.deploy.cli.signals import Signals

    signals = Signals()
    node = BeyondGate(settings, roles=roles, environ=environ, slots=slots)
    if not await signals.unless_asked(node.start()):
        return
    try:
        if as_json:
            print_json({"pid": os.getpid(), "roles": roles, "backend": node.name})
        else:
            click.echo(f"Callboard makes the calls of {node.name}, as the gate hands them out")
        await signals.asked.wait()
        if not as_json:
            warn("stopping: calls under way may finish; a second signal ends it at once")
    finally:
        await node.stop()


async def _with_backends(
    settings: "Settings", roles: tuple[str, ...], environ: Any
) -> tuple["Settings", dict[str, str]]:
    """The settings with the backends that can run here, and the others with the variable they lack."""
    from msgspec.structs import replace

    from callboard.deploy.discovery import discover
    from callboard.deploy.settings import missing_keys

    if not settings.backends:
        return replace(settings, backends=await discover(environ)), {}
    named = {role.removeprefix("backend:") for role in roles}
    left_out = {name: key for name, key in missing_keys(settings, environ).items() if name not in named}
    backends = {name: backend for name, backend in settings.backends.items() if name not in left_out}
    return replace(settings, backends=backends), left_out


def _announce(node: "Node", settings: "Settings", left_out: dict[str, str], *, as_json: bool) -> None:
    import os

    from callboard.bus.addresses import has_user, shown
    from callboard.deploy.cli.printing import print_json
    from callboard.deploy.doctor import meaning_of

    if as_json:
        ready = {
            "url": shown(node.url),
            "http": node.http_url or None,
            "data": settings.data,
            "fsync": settings.nats.fsync,
            "pid": os.getpid(),
            "roles": node.roles,
            "backends": [_document(node, name, backend) for name, backend in settings.backends.items()],
            "left_out": left_out,
        }
        print_json(ready)
        return
    click.echo(f"Callboard is up at {shown(node.url)}, data in {settings.data_folder.absolute()}")
    if settings.nats.url:
        click.echo("fsync is that server's own setting: what a power cut may take is decided there")
    else:
        click.echo(f"fsync {meaning_of(settings.nats.fsync)}")
    if node.http_url:
        click.echo(f"HTTP at {node.http_url}, {_asks_for(settings)}")
    for name, backend in settings.backends.items():
        click.echo(f"  {name}: {_what(backend)}, {_price(backend)}, replicas: {_replicas(node, name, backend)}")
    if not settings.backends:
        click.echo("no backends: tasks wait. Name some in callboard.toml, or set OPENAI_API_KEY or ANTHROPIC_API_KEY")
    place = "" if settings.data == ".callboard" else f" --data {settings.data}"
    if settings.nats.url:
        place = " --url URL" if has_user(settings.nats.url) else f" --url {settings.nats.url}"
    click.echo(f'submit with: callboard submit{place} "Say hello"')


def _asks_for(settings: "Settings") -> str:
    if settings.http_tokens is None:
        return "open to anybody on this machine"
    there = settings.http_tokens.exists()
    return f"for who has a token in {settings.http_tokens}" + (
        "" if there else ", which `callboard tokens create` makes"
    )


def _what(backend: "Backend") -> str:
    if backend.provider == "callable":
        return f"callable {backend.function} (not a model)"
    return f"{backend.provider} {backend.model} at {backend.address}"


def _replicas(node: "Node", name: str, backend: "Backend") -> int:
    """As many as the log wants: what is configured counts when the backend is new."""
    from callboard.deploy.fleet import first_replicas
    from callboard.projections.backends import BACKENDS

    registered = node.projector.state(BACKENDS).by_id.get(name)
    return registered.replicas if registered else first_replicas(backend)


def _price(backend: "Backend") -> str:
    from callboard.deploy.cli.printing import usd

    price, known = backend.price_or_lookup()
    if not known:
        return "free" if backend.provider == "callable" else "price not known, counted as free: set price"
    if not price.input and not price.output:
        return "free"
    more = f", more from {price.steps[0].over:,} tokens in" if price.steps else ""
    return f"{usd(price.input)} in, {usd(price.output)} out for a million tokens{more}"


def _document(node: "Node", name: str, backend: "Backend") -> dict[str, Any]:
    price, known = backend.price_or_lookup()
    return {
        "backend": name,
        "provider": backend.provider,
        "model": backend.model or backend.function,
        "url": backend.address,
        "callable": backend.provider == "callable",
        "price": price if known else None,
        "replicas": _replicas(node, name, backend),
    }
