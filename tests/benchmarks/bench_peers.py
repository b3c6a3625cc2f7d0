"""Callboard's durable agents beside LangGraph and DBOS on SQLite, and beside autogen-core, which keeps nothing.

Each system runs as a process of its own, one after the other, in rounds; figures are medians of the rounds. Its script
in `tests/benchmarks/peers` says what a step and a hand-off are there. Each has two ways to keep what it does: ``full``,
its default, on the disk before it goes on (Callboard: fsync always; SQLite: synchronous FULL), and ``relaxed``, on the
disk a little later (Callboard: fsync every 100 ms; SQLite: a WAL with synchronous NORMAL). What is measured:

- steps: from the beginning of one small step to that of the next;
- handoffs: until the other agent begins, and until the first goes on with its answer;
- messages: the same for DBOS's send and recv, between workflows that live on;
- storage: bytes in the store after a clean end, of steps that give 1 KiB each, while the agent keeps all of it
  (``relaxed``, which stores the same in less time);
- recovery: kill -9 in the middle, and from the spawn of a new process to the first step that had not begun before.
  Of Callboard the process of the node is killed, which its nats-server ends with; ``callboard host`` is a process over
  a nats-server that lives on.

Prints one JSON object, or with ``--markdown`` a table. What can't be installed, or fails, is named with the reason.

    python tests/benchmarks/bench_peers.py [--peers-venv DIR] [--rounds 3] [--kills 5] [--markdown] [--out FILE]
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from peers.children import Failed, Runner
from peers.disk import fsync
from peers.interpreters import clean, missing, peers_python
from peers.table import table

from callboard.bus.server import EmbeddedServer

ORDER = ("callboard", "langgraph", "dbos", "autogen")
DURABLE = ("callboard", "langgraph", "dbos")
SYNCS = ("full", "relaxed")
STORAGE_STEPS = (1_000, 3_000, 10_000)
A_MINUTE_S = 60.0
KIB = 1024


def runners(python: Path, absent: Mapping[str, str]) -> dict[str, Runner]:
    """Those that can run."""
    found = {"callboard": Runner(Path(sys.executable), os.environ, "callboard_runner.py")}
    peers = [name for name in ORDER if name != "callboard" and name not in absent]
    return found | {name: Runner(python, clean(), f"{name}_runner.py") for name in peers}


def attempt(runner: Runner, measure: str, *options: str) -> dict[str, Any]:
    """What it measures, or why it can't."""
    tell(" ".join((runner.script, measure, *options)))
    try:
        return runner.measured(measure, *options)
    except Failed as error:
        return {"missing": str(error)}


def medians(rounds: Sequence[Any]) -> Any:
    """The median of each figure; what is no figure as it was in the first round."""
    first = rounds[0]
    if isinstance(first, dict) and (failed := [each for each in rounds if "missing" in each]):
        return failed[0]
    if isinstance(first, dict):
        return {key: medians([each[key] for each in rounds]) for key in first}
    return round(statistics.median(rounds), 3) if isinstance(first, int | float) else first


def latencies(of: Mapping[str, Runner], rounds: int, given: argparse.Namespace) -> dict[str, Any]:
    """Steps and hand-offs, of all systems in turn, round by round."""
    asked = [("steps", given.steps), ("handoffs", given.handoffs)]
    whole = [
        (measure, count, name, sync)
        for measure, count in asked
        for sync in SYNCS
        for name in of
        if sync == "full" or name in DURABLE
    ]
    found: dict[tuple[str, str, str], list[Any]] = {}
    disk = []
    for _ in range(rounds):
        disk.append(fsync())
        for measure, count, name, sync in whole:
            figures = attempt(of[name], measure, "--count", str(count), "--sync", sync)
            found.setdefault((measure, name, sync), []).append(figures)
    result: dict[str, Any] = {"fsync": medians(disk), "steps": {}, "handoffs": {}}
    for (measure, name, sync), figures in found.items():
        result[measure].setdefault(name, {})[sync] = medians(figures)
    return result


def storage(runner: Runner, *options: str) -> Iterator[tuple[str, Any]]:
    """How much is stored for so many steps, as far as that takes no more than a minute, about."""
    seconds, before = 0.0, 0
    for count in STORAGE_STEPS:
        if count > 3_000 and seconds * count / before > A_MINUTE_S:
            yield str(count), {"missing": f"not within a minute: {before:,} took {seconds:.0f} s"}
            return
        figures = attempt(runner, "storage", "--count", str(count), "--size", str(KIB), "--sync", "relaxed", *options)
        seconds, before = figures.get("seconds", 0.0), count
        yield str(count), figures


def recovery(of: Mapping[str, Runner], kills: int) -> dict[str, Any]:
    """Kill and start all in turn, again and again."""
    found: dict[str, list[dict[str, float]]] = {}
    for number in range(kills):
        for name in (name for name in DURABLE if name in of):
            tell(f"kill {number + 1} of {name}")
            found.setdefault(name, []).append(killed(of[name]))
        tell(f"kill {number + 1} of a host of callboard")
        found.setdefault("callboard host", []).append(asyncio.run(host_killed(of["callboard"])))
    return {name: _of_kills(each) for name, each in found.items()}


def killed(runner: Runner, *options: str) -> dict[str, Any]:
    """How it goes on after a kill, or why it doesn't."""
    try:
        return runner.recovered(*options)
    except Failed as error:
        return {"missing": str(error)}


async def host_killed(runner: Runner) -> dict[str, Any]:
    """The host of agents alone is killed."""
    with tempfile.TemporaryDirectory() as folder:
        async with EmbeddedServer(Path(folder), fsync="always") as server:
            return await asyncio.to_thread(killed, runner, "--url", server.url)


def _of_kills(kills: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if failed := [each for each in kills if "missing" in each]:
        return dict(failed[0])
    took = [each["spawn_to_progress_ms"] for each in kills]
    twice = {key: sum(each[key] for each in kills) for key in kills[0] if key.endswith("twice")}
    return {
        "kills": len(kills),
        "spawn_to_progress_ms": {"median": statistics.median(took), "worst": max(took)},
    } | twice


def measured(given: argparse.Namespace, venv: Path) -> dict[str, Any]:
    """All of it."""
    python = peers_python(venv)
    tell("installing the peers")
    absent = missing(python)
    of = runners(python, absent)
    result = latencies(of, given.rounds, given)
    systems: dict[str, Any] = {name: {"missing": reason} for name, reason in absent.items()}
    for name, by_sync in result["steps"].items():
        durability = {sync: figures.get("durability") for sync, figures in by_sync.items()}
        systems[name] = {"version": by_sync["full"].get("version"), "durability": durability}
    if "dbos" in of:
        result["messages"] = {"dbos": attempt(of["dbos"], "messages", "--count", "10")}
    result["storage_steps"] = STORAGE_STEPS
    result["storage"] = {name: dict(storage(of[name])) for name in DURABLE if name in of}
    if "langgraph" in of:
        result["storage"]["langgraph delta"] = dict(storage(of["langgraph"], "--channel", "delta"))
    result["recovery"] = recovery(of, given.kills)
    return {"systems": {name: systems[name] for name in ORDER}} | result


def tell(what: str) -> None:
    """What is going on, beside the output."""
    print(what, file=sys.stderr, flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--peers-venv", type=Path, help="a virtual environment for the peers; made if missing")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--kills", type=int, default=5)
    arguments.add_argument("--steps", type=int, default=1_000)
    arguments.add_argument("--handoffs", type=int, default=300)
    arguments.add_argument("--markdown", action="store_true", help="print a table instead")
    arguments.add_argument("--out", type=Path, help="write the JSON there as well")
    given = arguments.parse_args()
    head: dict[str, Any] = {
        "benchmark": "peers",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "rounds": given.rounds,
    }
    with tempfile.TemporaryDirectory() as made:
        result = head | measured(given, given.peers_venv or Path(made) / "venv")
    if given.out:
        given.out.write_text(json.dumps(result, indent=2))
    print(table(result) if given.markdown else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
