"""The figures as a table in Markdown."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

NAMES = {"callboard": "Callboard", "langgraph": "LangGraph", "dbos": "DBOS", "autogen": "autogen-core"}
SYNC = {"full": "synced each time", "relaxed": "synced now and then"}


def table(result: Mapping[str, Any]) -> str:
    """One column for each system, one line for each measure."""
    systems = result["systems"]
    head = ["", *(f"{NAMES[name]} {about.get('version', '')}".strip() for name, about in systems.items())]
    lines = [head, ["---"] * len(head)]
    lines += [["durability", *(_durability(about) for about in systems.values())]]
    for sync, words in SYNC.items():
        lines += [_line(f"a step, p50 / p99, ms, {words}", systems, result["steps"], lambda of, s=sync: _step(of[s]))]
    for sync, words in SYNC.items():
        label = f"a hand-off, there / there and back, p50, ms, {words}"
        lines += [_line(label, systems, result["handoffs"], lambda of, s=sync: _hand_off(of[s]))]
    for count in result["storage_steps"]:
        label = f"{count:,} steps of 1 KiB: stored / payload; bytes a step"
        lines += [_line(label, systems, result["storage"], lambda of, n=str(count): _storage(of[n]))]
    lines += [_line("kill -9, spawned → goes on, median / worst, s", systems, result["recovery"], _recovery)]
    lines += [_line("finished steps that ran twice", systems, result["recovery"], _twice)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _line(label: str, systems: Sequence[str], figures: Mapping[str, Any], say: Callable[[Any], str]) -> list[str]:
    return [label, *(say(figures[name]) if name in figures else "-" for name in systems)]


def _durability(about: Mapping[str, Any]) -> str:
    return about.get("missing") or "; ".join(dict.fromkeys(about["durability"].values()))


def _step(of: Mapping[str, float]) -> str:
    return f"{of['p50_ms']:.2f} / {of['p99_ms']:.2f}"


def _hand_off(of: Mapping[str, Any]) -> str:
    return f"{of['there']['p50_ms']:.2f} / {of['there_and_back']['p50_ms']:.2f}"


def _storage(of: Mapping[str, Any]) -> str:
    return of.get("missing") or f"{of['stored_to_payload']:,.2f}; {of['bytes_a_step']:,}"


def _recovery(of: Mapping[str, Any]) -> str:
    took = of["spawn_to_progress_ms"]
    return f"{took['median'] / 1e3:.2f} / {took['worst'] / 1e3:.2f}"


def _twice(of: Mapping[str, Any]) -> str:
    return str(of["finished_steps_run_twice"])
