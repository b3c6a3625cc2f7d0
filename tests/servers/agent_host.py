"""A host of the agents of a Python file, as a process of its own; it prints a line when agents live there::

    cd tests/servers
    python agent_host.py --url nats://127.0.0.1:4222 --host h1 --file crew.py --page done.txt

The file has a function ``agents(page)`` that makes the definitions; what they do they write on the page.
"""

import argparse
import asyncio
import json
import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])  # where pytest, too, finds this folder

from callboard.actors.agents.host import Host
from callboard.actors.timekeeper import Timekeeper
from callboard.bus.entities import TASK, Entities
from callboard.bus.jetstream import connect


async def main() -> None:
    """Host them until killed."""
    parser = argparse.ArgumentParser(description="A host of agents.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--page", type=Path, required=True)
    parser.add_argument("--rest-s", type=float, default=0.1)
    options = parser.parse_args()
    definitions = runpy.run_path(str(options.file))["agents"](options.page)
    bus = await connect(options.url, name=options.host, timeout_s=30.0)
    host = Host(bus, options.host, definitions, rest_s=options.rest_s)
    keeper = Timekeeper(bus, Entities(bus.log, TASK, f"timekeeper#{options.host}"))
    async with asyncio.TaskGroup() as group:
        group.create_task(host.run())
        group.create_task(keeper.run())
        await host.ready.wait()
        print(json.dumps({"host": options.host}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
