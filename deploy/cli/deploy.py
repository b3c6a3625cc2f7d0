"""`callboard deploy`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from callboard.deploy.cli.options import Where, as_json, seconds, where

if TYPE_CHECKING:
    from callboard.deploy.ray.deployed import App


@click.group()
def deploy() -> None:
    """Run it on a Ray cluster, with a NATS server of your own: one Serve deployment for each backend.

    [ray] in the settings file says where. `callboard scale` changes how many replicas a backend has.
    """
    from callboard.deploy.ray.environment import prepare

    prepare()


@deploy.command("up")
@click.option("--ray", "on_ray", is_flag=True, required=True, help="On Ray; there is nothing else yet.")
@click.option("--timeout", callback=seconds, default="3m", metavar="DURATION", help="How long to wait.  [default: 3m]")
@where
@as_json
def deploy_up(on_ray: bool, timeout: float, where: Where, as_json: bool) -> None:  # noqa: ARG001
    """Deploy, or deploy anew, and wait until all of it runs. Without a cluster, Ray is started on this machine.

    Deployed anew, what changed is replaced or told, one replica after another; the rest goes on. Backends that are no
    longer in the settings file are taken off the board, and their tasks go to others.

    Functions of callable backends are looked for beside the settings file, on every machine of the cluster. API keys
    must be in the environment that Ray was started in, or in the folder that ray.secrets names.

    --json prints {address, nats, seconds, application, status, deployments [{deployment, status, wanted, running,
    replicas [{replica, state, pid, node}], message}]}.
    """
    import asyncio
    import time

    from callboard.deploy.cli.printing import working
    from callboard.deploy.ray.parts import deployments_of
    from callboard.deploy.ray.wanted import remove_from, wanted_on

    began = time.monotonic()
    settings, folder = where.settings(), _folder(where)
    deployments_of(settings, folder, {})  # mistakes are told before anything is started
    with working("Reading the log"):
        wanted = asyncio.run(wanted_on(settings))
    from callboard.deploy.ray import operations  # takes a second
    from callboard.deploy.ray.cluster import connected

    with working("Connecting to Ray"), connected(settings, start=True) as address, working("Deploying"):
        gone = operations.backends_of(settings.ray.name) - settings.backends.keys()
        app = operations.up(settings.ray.name, deployments_of(settings, folder, wanted), timeout)
        asyncio.run(remove_from(settings, gone))
    _print(app, address, as_json=as_json, nats=settings.nats.url, seconds=time.monotonic() - began)


@deploy.command("status")
@where
@as_json
def deploy_status(where: Where, as_json: bool) -> None:
    """Show what runs on Ray.

    --json prints what `callboard deploy up` does, without nats and seconds.
    """
    from callboard.deploy.ray import operations
    from callboard.deploy.ray.cluster import connected

    settings = where.settings()
    with connected(settings) as address:
        app = operations.status(settings.ray.name)
    _print(app, address, as_json=as_json)


@deploy.command("down")
@where
@as_json
def deploy_down(where: Where, as_json: bool) -> None:
    """End what runs on Ray; calls under way finish first. Ray ends too if `callboard deploy up` had started it.

    Nothing is lost: the log says how to go on, and `callboard deploy up` does.

    --json prints {address, application, ray_ended}.
    """
    from callboard.deploy.cli.printing import print_json, working
    from callboard.deploy.connect import NoNode
    from callboard.deploy.ray import local, operations
    from callboard.deploy.ray.cluster import connected

    settings = where.settings()
    with working("Ending"):
        with connected(settings) as address:
            was_up = operations.down(settings.ray.name)
        own = local.local_at(settings.data_folder)
        ended = own is not None and own.address == address and local.stop(settings.data_folder)
    if not was_up and not ended:
        raise NoNode(f"no application {settings.ray.name!r} runs on Ray at {address}")
    if as_json:
        print_json({"address": address, "application": settings.ray.name, "ray_ended": ended})
    else:
        click.echo(f"{settings.ray.name} is down" + (", and Ray with it" if ended else ""))


@deploy.command("config")
@where
def deploy_config(where: Where) -> None:
    """Print a config file for Serve's own `serve deploy` and `serve run`, made from the settings file."""
    import asyncio

    from callboard.deploy.ray.parts import deployments_of
    from callboard.deploy.ray.wanted import wanted_on

    settings, folder = where.settings(), _folder(where)
    deployments_of(settings, folder, {})
    wanted = asyncio.run(wanted_on(settings))
    from callboard.deploy.ray.app import config_of, yaml  # takes a second

    click.echo(yaml(config_of(settings.ray.name, deployments_of(settings, folder, wanted))), nl=False)


def _folder(where: Where) -> Path:
    """Where modules are found that the settings name."""
    return (where.config.parent if where.config else Path()).resolve()


def _print(app: "App", address: str, *, as_json: bool, **more: Any) -> None:
    from callboard.deploy.cli.printing import one_line, print_json, print_table, whole
    from callboard.deploy.ray.deployed import last_line

    if as_json:
        deployments = [whole(each) | {"running": each.running} for each in app.deployments]
        shown = {"address": address, **more, "application": app.name, "status": app.status, "deployments": deployments}
        print_json(shown)
        return
    more_told = f", with NATS at {more['nats']}, after {more['seconds']:.1f} s" if more else ""
    click.echo(f"{app.name} is {app.status} on Ray at {address}{more_told}")
    rows = [
        (each.deployment, each.status, f"{each.running} of {each.wanted}", one_line(last_line(each.message)))
        for each in app.deployments
    ]
    print_table(("deployment", "status", "replicas", "message"), rows)
