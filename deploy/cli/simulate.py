"""`callboard simulate`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from callboard.deploy.cli.options import as_json

if TYPE_CHECKING:
    from callboard.actors.simulation.comparison import Question
    from callboard.actors.simulation.fleet import Fleet
    from callboard.actors.simulation.measures import Result
    from callboard.actors.simulation.trace import Trace

DEFAULT = ("adaptive", "least-requests", "two-choices", "round-robin", "random")


@click.command()
@click.argument("trace", type=click.Path(path_type=Path))
@click.option("--backends", default="10", show_default=True, metavar="N|FILE", help="Equal ones, or a TOML/JSON file.")
@click.option(
    "--policy", "policies", multiple=True, metavar="NAME", help=f"Several times.  [default: {', '.join(DEFAULT)}]"
)
@click.option("--tasks", type=click.IntRange(1), metavar="N", help="Go on round after round, or stop.  [default: one]")
@click.option("--speed", type=float, metavar="X", help="Tasks come X times as often as in the trace.  [default: 1]")
@click.option("--load", type=click.IntRange(1, 200), metavar="PERCENT", help="As often as keeps so many slots busy.")
@click.option("--routers", type=click.IntRange(1), default=1, show_default=True, help="How many decide at a time.")
@click.option("--view-delay", default="5ms", show_default=True, metavar="TIME", help="Until they see each other's.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of all chance.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE.png", help="Draw it; needs matplotlib.")
@as_json
def simulate(
    trace: Path,
    backends: str,
    policies: tuple[str, ...],
    tasks: int | None,
    speed: float | None,
    load: int | None,
    routers: int,
    view_delay: str,
    seed: int,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Replay TRACE on simulated backends through the real router, and compare policies.

    TRACE is Azure's CSV, Mooncake's JSON lines, or JSON lines {"at": seconds, "input": tokens, "output": tokens,
    "blocks": [numbers]}: equal blocks are equal beginnings of prompts, 512 tokens each. A policy is one of the router's
    or a simple rule: least-requests, two-choices, round-robin, random; answers are not judged, so adaptive has no
    quality to learn. With one router its view is exact; --view-delay counts with several.

    A FILE of backends has a table [backends.NAME] for each kind: model, count, replicas, concurrency,
    prefill_tokens_per_s, decode_tokens_per_s, slowdown (of a token when all slots are busy), cache_tokens,
    reports_cached, price {input, output, cached} in USD per million tokens, windows [{from_s, to_s, slower or fails}],
    and, for replicas that follow the load and take start_s to start, scaling {min, max, target_wait_s,
    target_first_token_s, cool_up_s, cool_down_s, idle_s}.

    --json prints {trace, tasks, speed, backends, routers, view_delay, seed, results [{policy, tasks, ended, queue,
    first_token, completion {p50, p95, p99, mean}, hits, attainable, busy, peak, spread, cost, speed {tasks_per_s,
    decision}, replica_hours, scalings}]}.
    """
    from callboard.actors.simulation.comparison import Question, compare
    from callboard.actors.simulation.fleet import read_fleet
    from callboard.actors.simulation.trace import read
    from callboard.deploy.cli.printing import print_json, working
    from callboard.deploy.plots import drawn, require_matplotlib
    from callboard.deploy.units import duration_ns

    if plot is not None:
        require_matplotlib()
    if speed is not None and (load is not None or speed <= 0):
        raise click.UsageError("--speed must be over 0, and goes without --load: both say how often tasks come")
    fleet = _alike(backends) if backends.isdigit() else read_fleet(Path(backends))
    read_trace = read(trace)
    question = Question(
        trace=read_trace,
        fleet=fleet,
        policies=policies or DEFAULT,
        tasks=tasks or len(read_trace.arrivals),
        speed=speed or _pace(read_trace, fleet, load),
        routers=routers,
        view_delay=duration_ns(view_delay, "--view-delay") if routers > 1 else 0,
        seed=seed,
    )
    with working("simulating"):
        results = compare(question)
    if plot is not None:
        drawn(results, question.title, plot)
    if as_json:
        print_json(_facts(question) | {"results": results})
    else:
        _print(question.title, results)


def _alike(number: str) -> "Fleet":
    from callboard.actors.simulation.fleet import alike

    if int(number) < 1:
        raise click.BadParameter("at least 1 backend is needed", param_hint="--backends")
    return alike(int(number))


def _pace(trace: "Trace", fleet: "Fleet", load: int | None) -> float:
    """How many times as often as in the trace tasks come so that ``load`` percent of all slots are busy."""
    from callboard.actors.simulation.fleet import rate_at

    return 1.0 if load is None else rate_at(fleet, load / 100, *trace.average) / trace.rate


def _facts(question: "Question") -> dict[str, object]:
    """What was simulated, for --json."""
    return {
        "trace": question.trace.name,
        "tasks": question.tasks,
        "speed": question.speed,
        "backends": len(question.fleet),
        "routers": question.routers,
        "view_delay": question.view_delay,
        "seed": question.seed,
    }


def _print(title: str, results: "list[Result]") -> None:
    from callboard.deploy.cli.printing import print_table, took, usd

    click.echo(title)
    times = ("queue p50", "p95", "p99", "first token p50", "p95 ", "p99 ", "done p50", " p95", " p99")
    numbers = (*times, "hits", "busy", "peak", "cost", "tasks/s", "decision p99")
    print_table(
        ("policy", *numbers),
        (
            (
                result.policy,
                *(
                    took(value) or "0"
                    for span in (result.queue, result.first_token, result.completion)
                    for value in (span.p50, span.p95, span.p99)
                ),
                f"{result.hits:.1%} of {result.attainable:.1%}" if result.attainable else "",
                f"{result.busy:.0%}",
                f"{result.peak:.2f}",
                usd(result.cost),
                f"{result.speed.tasks_per_s:,.0f}",
                took(result.speed.decision.p99),
            )
            for result in results
        ),
        right=numbers,
    )
    for result in results:
        if result.scalings:
            click.echo(f"{result.policy}: {result.scalings} scalings, {result.replica_hours:.2f} replica-hours")
        lost = {status: number for status, number in result.ended.items() if status != "completed"}
        if lost:
            told = ", ".join(f"{number:,} {status}" for status, number in lost.items())
            click.echo(f"{result.policy}: {told} of {result.tasks:,} tasks")
