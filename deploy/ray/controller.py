"""Serve's controller: what Serve's REST API does for an external scaler, without the dashboard that serves it.

The methods called here are those that the REST API calls; Serve's public Python API has none for this.
"""

from collections.abc import Mapping
from typing import Any, Final

import ray
from ray.serve._private.common import DeploymentID
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE

from callboard.bus.errors import Unavailable
from callboard.deploy.ray.deployed import App, Deployed, Running

ANSWER_S: Final = 10.0


class Controller:
    """Asks Serve's controller. Its calls block. They raise Unavailable when there is none, or it does not answer."""

    def app(self, name: str) -> App | None:
        """The application of this name, if there is one."""
        details = None if self._actor() is None else self._ask("get_serve_instance_details")["applications"].get(name)
        if details is None:
            return None
        deployments = tuple(_deployed(each) for each in details["deployments"].values())
        return App(name, _word(details["status"]), details["message"] or "", deployments)

    def scale(self, app: str, deployment: str, replicas: int) -> None:
        """Have so many replicas; those that stay are left alone."""
        self._ask("update_deployment_replicas", DeploymentID(name=deployment, app_name=app), replicas)

    def _actor(self) -> Any | None:
        try:
            return ray.get_actor(SERVE_CONTROLLER_NAME, namespace=SERVE_NAMESPACE)
        except ValueError:
            return None

    def _ask(self, method: str, *args: Any) -> Any:
        controller = self._actor()
        if controller is None:
            raise Unavailable("Serve does not run on this Ray cluster")
        try:
            return ray.get(getattr(controller, method).remote(*args), timeout=ANSWER_S)
        except (ray.exceptions.RayError, TimeoutError) as error:
            told = str(getattr(error, "cause", None) or error).strip().splitlines()
            raise Unavailable(f"Serve's controller: {told[-1] if told else type(error).__name__}") from error


def _deployed(details: Mapping[str, Any]) -> Deployed:
    replicas = tuple(
        Running(each["replica_id"], _word(each["state"]), each.get("pid"), each.get("node_ip"))
        for each in details["replicas"]
    )
    wanted, status = details["target_num_replicas"], _word(details["status"])
    return Deployed(details["name"], status, wanted, replicas, details["message"] or "")


def _word(value: Any) -> str:
    """A state or status: an enum's value, or as it is."""
    return str(getattr(value, "value", value))
