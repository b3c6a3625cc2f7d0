"""A what-if in a process that writes down what it reached: every connection, every process, every module of providers.

python audited_what_if.py FOLDER CHANGE...: prints what it found as JSON, then a line of JSON with what it reached.
"""

import json
import sys

REACHED: dict[str, list[str]] = {"connected": [], "started": []}


def watch(event: str, args: tuple) -> None:
    if event == "socket.connect":
        REACHED["connected"].append(repr(args[1]))
    elif event in {"subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.fork", "socket.sendto"}:
        REACHED["started"].append(f"{event} {args!r}")


sys.addaudithook(watch)

PROVIDERS = "callboard.actors.backend.providers."
SHAPES = {"estimate", "provider"}
"""What a client knows of providers: what they are given, and how tokens are estimated. These call nobody."""

FORBIDDEN = ("httpx", "mcp", "callboard.actors.backend.worker", "callboard.actors.tools.mcp")


def main() -> None:
    from callboard.deploy.cli.options import Where
    from callboard.deploy.cli.session import board_at, run
    from callboard.deploy.cli.what_if import what_if

    async def asked() -> None:
        async with board_at(Where(data=sys.argv[1])) as place:
            await what_if(place, sys.argv[2:], as_json=True)

    run(asked())
    known = {PROVIDERS + name for name in SHAPES}
    imported = sorted(name for name in sys.modules if name.startswith((PROVIDERS, *FORBIDDEN)) and name not in known)
    print(json.dumps(REACHED | {"imported": imported}))


if __name__ == "__main__":
    main()
