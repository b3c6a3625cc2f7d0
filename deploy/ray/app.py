"""The Serve application, for `callboard deploy` and for Serve's own commands."""

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

from msgspec.structs import replace
from ray import serve
from ray.serve import Application

from callboard.deploy.connect import URL_VARIABLE
from callboard.deploy.ray.parts import MARGIN_S, Deployment, deployments_of
from callboard.deploy.ray.replica import Replica
from callboard.deploy.ray.wanted import wanted_on
from callboard.deploy.settings_file import DEFAULT_FILE, load
from callboard.events.errors import InvalidInput

INGRESS: Final = "control"
"""The deployment that Serve is given as the application's first; nothing is served through it."""

HEALTH_PERIOD_S: Final = 5.0
HEALTH_TIMEOUT_S: Final = 15.0
DRAIN_LOOK_S: Final = 0.05
"""Serve waits so long for requests of its own before it tells a replica to end; here there are none."""

START_TRIES: Final = 3
_REPLICA: Final = cast("serve.Deployment", serve.deployment(Replica))
_ARGUMENTS: Final = ("config", "deployments")


def options_of(deployment: Deployment) -> dict[str, Any]:
    """The deployment's options, as Serve's Python API and its config files call them."""
    placement = deployment.placement
    return {
        "name": deployment.name,
        "num_replicas": deployment.replicas,
        "user_config": deployment.part.config(),
        "graceful_shutdown_timeout_s": deployment.part.drain_s + MARGIN_S,
        "graceful_shutdown_wait_loop_s": DRAIN_LOOK_S,
        "health_check_period_s": HEALTH_PERIOD_S,
        "health_check_timeout_s": HEALTH_TIMEOUT_S,
        "max_constructor_retry_count": START_TRIES,
        "ray_actor_options": {
            "num_cpus": placement.num_cpus,
            "num_gpus": placement.num_gpus,
            "resources": dict(placement.resources),
        },
    }


def application(deployments: Iterable[Deployment]) -> Application:
    """The application. A deployment of which only the number of replicas or the part changed keeps its replicas."""
    # Serve has a deployment's version for its own use only: without one, each deployment anew replaces all replicas
    return _bound(
        {each.name: _REPLICA.options(**options_of(each), version=each.version, _internal=True) for each in deployments}
    )


def build(args: Mapping[str, Any]) -> Application:
    """The application for Serve's own commands: ``serve run callboard.deploy.ray.app:build config=callboard.toml``.

    A config file, as `callboard deploy config` prints it, names the ``deployments`` instead, and holds their options; a
    new version of one of them makes Serve replace the replicas of all.
    """
    if unknown := args.keys() - {*_ARGUMENTS}:
        raise InvalidInput(f"unknown argument {min(unknown)!r}; known are {', '.join(_ARGUMENTS)}")
    if versions := args.get("deployments"):
        return _bound({name: _REPLICA.options(name=name) for name in versions})
    file = Path(args.get("config", DEFAULT_FILE)).resolve()
    settings = load(file)
    if url := os.environ.get(URL_VARIABLE):
        settings = replace(settings, nats=replace(settings.nats, url=url))
    checked = deployments_of(settings, file.parent, {})
    wanted = asyncio.run(wanted_on(settings))
    return application(deployments_of(settings, file.parent, wanted) if wanted else checked)


def config_of(name: str, deployments: Sequence[Deployment]) -> dict[str, Any]:
    """The content of a config file for ``serve deploy`` and ``serve run``."""
    app = {
        "name": name,
        "import_path": f"{build.__module__}:{build.__name__}",
        "route_prefix": None,
        "external_scaler_enabled": True,
        "args": {"deployments": {each.name: each.version for each in deployments}},
        "deployments": [options_of(each) for each in deployments],
    }
    return {"proxy_location": "Disabled", "applications": [app]}


def yaml(config: Mapping[str, Any]) -> str:
    """A config file's text."""
    import yaml as pyyaml  # noqa: PLC0415  comes with Ray; only this needs it

    return str(pyyaml.safe_dump(dict(config), sort_keys=False))


def _bound(deployments: Mapping[str, serve.Deployment]) -> Application:
    others = [deployment.bind() for name, deployment in deployments.items() if name != INGRESS]
    return deployments[INGRESS].bind(*others)
