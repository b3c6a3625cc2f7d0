"""Record golden logs from real nodes, and say what is expected of them.

python tests/golden/record.py            record all logs anew, and accept what today's code makes of them
python tests/golden/record.py tasks      record one of them
python tests/golden/record.py --accept   record nothing: accept what today's code makes of the logs that there are
"""

import argparse
import asyncio
import json
import tempfile
from pathlib import Path

from golden_logs import EXPECTED, OLDER, computed, downgraded, expected, names, read, wire_types, write
from scenes import SCENES

from callboard.bus import jetstream
from callboard.bus.server import EmbeddedServer


async def record(name: str) -> None:
    """Let a scene happen on a server of its own, and keep its log."""
    with tempfile.TemporaryDirectory() as folder:
        async with EmbeddedServer(Path(folder) / "nats", fsync="100ms") as server:
            await SCENES[name](Path(folder) / "node", server)
            bus = await jetstream.connect(server.url)
            records = [record async for batch in bus.log.read_all() for record in batch]
            await bus.aclose()
    write(name, records)
    print(f"{name}: {len(records)} messages, {len(wire_types(records))} types of events")


def accept() -> None:
    """Write down what today's code makes of each log, and tell what that changes."""
    before, after = expected(), {name: computed(name) for name in names()}
    EXPECTED.write_text(json.dumps(after, indent=1) + "\n")
    for name, parts in after.items():
        for part in ("projections", "entities"):
            for each, now in parts[part].items():
                known = before.get(name, {}).get(part, {}).get(each)
                if known != now:
                    print(f"{name}: {part} {each}: {known or 'new'} → {now}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("scene", nargs="*", choices=[*SCENES, []], help="which to record; default: all")
    arguments.add_argument("--accept", action="store_true", help="record nothing, accept")
    given = arguments.parse_args()
    if not given.accept:
        for name in given.scene or SCENES:
            asyncio.run(record(name))
        write(OLDER, [*downgraded(read("tasks"))])
    accept()


if __name__ == "__main__":
    main()
