"""Deploying: bringing the application up, looking at it, taking it down. All of it while connected to Ray."""

import time
from collections.abc import Sequence
from typing import Final

from ray import serve

from callboard.deploy.connect import NoNode
from callboard.deploy.ray.app import application
from callboard.deploy.ray.controller import Controller
from callboard.deploy.ray.deployed import App
from callboard.deploy.ray.parts import Deployment, backend_of
from callboard.events.errors import CallboardError

LOOK_S: Final = 0.1
FAILED: Final = ("DEPLOY_FAILED", "UNHEALTHY")


class DeployFailed(CallboardError):
    """The application did not come up."""


def up(name: str, deployments: Sequence[Deployment], timeout_s: float) -> App:
    """Deploy, and wait until all replicas are there and well. Raises DeployFailed with what the first one told."""
    serve.start(proxy_location="Disabled")
    target = serve.RunTarget(application(deployments), name, route_prefix=None, external_scaler_enabled=True)
    serve.run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)
    deadline = time.monotonic() + timeout_s
    while True:
        app = _app(name)
        if app.is_up({each.name for each in deployments}):
            return app
        if app.status in FAILED:
            raise DeployFailed(f"not all runs on Ray: {app.reason}")
        if time.monotonic() > deadline:
            raise DeployFailed(f"not all runs on Ray after {timeout_s:.0f} s: {app.reason}")
        time.sleep(LOOK_S)


def status(name: str) -> App:
    """The application as it is now. Raises NoNode when there is none."""
    return _app(name)


def backends_of(name: str) -> set[str]:
    """The backends that the application runs now; none when there is no application."""
    try:
        app = _app(name)
    except NoNode:
        return set()
    return {backend for each in app.deployments if (backend := backend_of(each.deployment))}


def down(name: str) -> bool:
    """End all replicas; calls under way finish first, as whenever a replica ends. Says whether there were any."""
    if Controller().app(name) is None:
        return False
    serve.delete(name)
    return True


def _app(name: str) -> App:
    app = Controller().app(name)
    if app is None:
        raise NoNode(f"no application {name!r} runs on this Ray cluster: deploy it with `callboard deploy up --ray`")
    return app
