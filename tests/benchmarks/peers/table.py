"""The figures as a table in Markdown."""

from collections.abc import Callable, Mapping
from typing import Any

NAMES = {"callboard": "Callboard", "langgraph": "LangGraph", "dbos": "DBOS", "autogen": "autogen-core"}
SYNC = {"full": "each on the disk first", "relaxed": "on the disk a little later"}
NONE = "none"


def table(result: Mapping[str, Any]) -> str:
    """One column for each system, one line for each measure."""
    systems = result["systems"]

    def line(label: str, figures: Mapping[str, Any], say: Callable[[Any], str]) -> list[str]:
        return [label, *(_said(figures.get(name), say) for name in systems)]

    names = [f"{NAMES[name]} {about.get('version', '')}".strip() for name, about in systems.items()]
    lines = [["", *names], ["---"] * (len(names) + 1), line("kept by", systems, _durability)]
    for sync, words in SYNC.items():
        figures = {name: of.get(sync) for name, of in result["steps"].items()}
        lines.append(line(f"a step, {words}: p50 / p99, ms", figures, _step))
    for sync, words in SYNC.items():
        figures = {name: of.get(sync) for name, of in result["handoffs"].items()}
        lines.append(line(f"a hand-off, {words}: there / there and back, p50, ms", figures, _hand_off))
    if messages := result.get("messages"):
        lines.append(line("the same by send and recv of workflows that live on", messages, _hand_off))
    for count in map(str, result["storage_steps"]):
        figures = {name: of.get(count) for name, of in result["storage"].items()}
        lines.append(line(f"stored / payload, {int(count):,} steps of 1 KiB", figures, _storage))
    if delta := result["storage"].get("langgraph delta"):
        lines.append(line("the same with its DeltaChannel (beta)", {"langgraph": delta}, _growth))
    lines.append(line("kill -9: spawned again until it goes on, median / worst, s", result["recovery"], _recovery))
    host = {"callboard": result["recovery"].get("callboard host")}
    lines.append(line("the same of a host alone, nats-server lives on", host, _recovery))
    lines.append(line("finished steps that ran twice", result["recovery"], _twice))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _said(figures: Any, say: Callable[[Any], str]) -> str:
    """What there is to say of one system, if anything."""
    return NONE if figures is None else figures.get("missing") or say(figures)


def _durability(about: Mapping[str, Any]) -> str:
    return "; ".join(dict.fromkeys(filter(None, about["durability"].values())))


def _step(of: Mapping[str, float]) -> str:
    return f"{of['p50_ms']:.2f} / {of['p99_ms']:.2f}"


def _hand_off(of: Mapping[str, Any]) -> str:
    return f"{of['there']['p50_ms']:.2f} / {of['there_and_back']['p50_ms']:.2f}"


def _storage(of: Mapping[str, Any]) -> str:
    return f"{of['stored_to_payload']:,.2f}"


def _growth(of: Mapping[str, Any]) -> str:
    return "; ".join(_said(each, _storage) for each in of.values())


def _recovery(of: Mapping[str, Any]) -> str:
    took = of["spawn_to_progress_ms"]
    return f"{took['median'] / 1e3:.2f} / {took['worst'] / 1e3:.2f}"


def _twice(of: Mapping[str, Any]) -> str:
    return f"{of['finished_steps_run_twice']} in {of['kills']} kills"
