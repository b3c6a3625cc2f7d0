"""The process of one replica: ``python -m callboard.deploy.replica``, with its order in the environment.

It is a node with one worker. SIGTERM drains it; a second one ends it at once.
"""

import asyncio
import os
import sys

import msgspec

from callboard.deploy import logs
from callboard.deploy.cli.signals import Signals
from callboard.deploy.garbage import collect_seldom
from callboard.deploy.node import Node
from callboard.deploy.processes import VARIABLE, Order
from callboard.deploy.replicas import DRAIN_S
from callboard.events.errors import CallboardError


def main() -> None:
    """Be the replica that the environment tells of, until asked to end."""
    order = msgspec.json.decode(os.environ.pop(VARIABLE), type=Order)
    logs.configure(order.settings.telemetry.log_level)
    try:
        asyncio.run(_run(order))
    except CallboardError as error:
        sys.exit(f"replica {order.backend}/{order.number}: {error}")


async def _run(order: Order) -> None:
    signals = Signals()
    node = Node(order.settings, roles=(f"backend:{order.backend}",), environ=os.environ, most=1)
    if await signals.unless_asked(node.start()):
        collect_seldom()
        await signals.asked.wait()
        await node.stop(DRAIN_S)


if __name__ == "__main__":
    main()
