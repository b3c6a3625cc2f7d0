"""Finding the Ray cluster that is meant, and being connected to it."""

import logging
import os
import socket
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Final

import ray

from callboard.bus.errors import Unavailable
from callboard.deploy.connect import NoNode
from callboard.deploy.ray import local
from callboard.deploy.settings import Settings

ADDRESS_VARIABLE: Final = "RAY_ADDRESS"
REACH_S: Final = 5.0
SERVE_LOGS: Final = ("ray", "ray.serve")


@contextmanager
def connected(settings: Settings, environ: Mapping[str, str] = os.environ, *, start: bool = False) -> Iterator[str]:
    """Be connected to the cluster; gives its address. With ``start`` one is started on this machine if none is meant.

    What Ray says meanwhile, such as that a node is gone, goes to standard error: it would be part of a command's JSON.
    Raises NoNode when none is meant and none runs here, Unavailable when nothing answers at the address.
    """
    address = settings.ray.address or environ.get(ADDRESS_VARIABLE) or _own(settings.data_folder, start=start)
    _reach(address)
    for name in SERVE_LOGS:
        logging.getLogger(name).setLevel(logging.ERROR)
    with redirect_stdout(sys.stderr):
        try:
            with warnings.catch_warnings(action="ignore"):
                ray.init(address, log_to_driver=False, configure_logging=False, logging_level=logging.ERROR)
        except (ConnectionError, ray.exceptions.RayError, RuntimeError, ValueError) as error:
            told = str(error).strip().splitlines()
            raise Unavailable(f"Ray at {address}: {told[0] if told else type(error).__name__}") from error
        try:
            yield str(ray.get_runtime_context().gcs_address)
        finally:
            ray.shutdown()


def _own(folder: Path, *, start: bool) -> str:
    found = local.local_at(folder)
    if found is None and not start:
        raise NoNode("no Ray cluster is meant and none was started here: set address under [ray], or RAY_ADDRESS")
    return (found or local.start(folder)).address


def _reach(address: str) -> None:
    """Ray itself takes a minute to give up."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host, int(port)), REACH_S).close()
        except OSError as error:
            raise Unavailable(f"Ray can't be reached at {address}: {error.strerror or error}") from error
