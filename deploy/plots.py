"""Drawings of simulations; the only importer of matplotlib."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from callboard.actors.simulation.measures import Result
from callboard.events.errors import InvalidInput

INSTALL = "pip install -c deploy/constraints.txt -e '.[plot]'"
NS_PER_S = 1e9


def require_matplotlib() -> None:
    """Raises InvalidInput saying how to install it, unless it is there."""
    if find_spec("matplotlib") is None:
        raise InvalidInput(f"drawing needs matplotlib: {INSTALL}")


def drawn(results: Sequence[Result], title: str, path: Path) -> None:
    """Write a picture of waiting, first tokens, completion and prefix hits by policy. Raises InvalidInput."""
    from matplotlib.figure import Figure  # noqa: PLC0415  an extra, and slow to load

    names = [result.policy for result in results]
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    figure.suptitle(title)
    times, hits = figure.subplots(1, 2, width_ratios=(3, 1))
    shown = {
        "queue p95": [result.queue.p95 for result in results],
        "queue p99": [result.queue.p99 for result in results],
        "first token p95": [result.first_token.p95 for result in results],
        "completion p50": [result.completion.p50 for result in results],
        "completion p95": [result.completion.p95 for result in results],
    }
    width = 0.8 / len(shown)
    for number, (label, values) in enumerate(shown.items()):
        places = [place + (number - (len(shown) - 1) / 2) * width for place in range(len(names))]
        times.bar(places, [value / NS_PER_S for value in values], width, label=label)
    times.set_xticks(range(len(names)), names)
    times.set_ylabel("seconds")
    times.legend()
    hits.bar(names, [100 * result.hits for result in results])
    hits.axhline(100 * results[0].attainable, color="black", linestyle="--", label="one endless shared cache")
    hits.set_ylabel("% of input tokens from prefix caches")
    hits.tick_params(axis="x", rotation=45)
    hits.legend()
    try:
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path}: can't be drawn: {error}") from None
