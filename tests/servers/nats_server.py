"""A nats-server over a folder, as a process of its own; it prints its address, and ends at SIGTERM::

python tests/servers/nats_server.py FOLDER
"""

import asyncio
import signal
import sys
from pathlib import Path

from callboard.bus.server import EmbeddedServer


async def main() -> None:
    """Serve until told to end."""
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    async with EmbeddedServer(Path(sys.argv[1]), fsync="always") as server:
        print(server.url, flush=True)
        await asked.wait()


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])
    asyncio.run(main())
