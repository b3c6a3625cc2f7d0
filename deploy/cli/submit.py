"""`callboard submit`."""

import sys
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import click

from callboard.deploy.cli.options import Where, as_json, seconds, where
from callboard.deploy.cli.task_options import task_fields, task_options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from callboard.actors.outcome import Outcome
    from callboard.actors.task_handle import TaskHandle
    from callboard.deploy.cli.publishing import Publisher
    from callboard.deploy.connect import Place
    from callboard.deploy.settings import Cell
    from callboard.events.task import Status

PATIENCE_S: Final = 3.0


@click.command()
@click.argument("text", required=False)
@click.option("-f", "--file", type=click.File("rb"), help="Read the text from a file; - is standard input.")
@click.option("--watch", is_flag=True, help="Print the answer as it is written.")
@click.option("--wait/--no-wait", default=True, help="Wait for the answer, or print the task's id at once.")
@click.option("--deadline", metavar="TIME", help="Give up then, as 2030-01-31T12:00:00Z.")
@click.option("--delay", metavar="DURATION", callback=seconds, help="Don't begin for this long, as 10s.")
@task_options
@click.option("--key", metavar="KEY", help="The same key is the same task: safe to submit again.")
@where
@as_json
def submit(text: str | None, file: BinaryIO | None, where: Where, **given: Any) -> None:
    """Submit TEXT as a task (- reads standard input), wait for the answer and print it.

    With --context the model is given what was said there first, as of now or of a version, and TEXT may be left out.

    With no node running the task is kept, and done when `callboard up` runs.

    With the key of a publisher alone it works as well, but for --watch: such a key does not read what is written.

    --tools takes a list of {name, description, parameters}, the latter a JSON Schema. The calls that the model wants
    are printed, and not made.

    --json prints {task, status, output, tool_calls, backend, model, finish, usage {input, output, cached}, cost,
    first_token, duration, calls, reason, scores {source: parts per million}}; with --no-wait {task, status}; with
    --watch first a line {token, call} for each piece of text.
    """
    from callboard.deploy.cli.session import run

    wait, watch, as_json = (given.pop(name) for name in ("wait", "watch", "as_json"))
    if watch and not wait:
        raise click.UsageError("--watch waits for the answer: leave out --no-wait")
    fields = {"input": _input(text, file, alone=given["context"] is None), **_fields(given)}
    run(_submit(where, fields, wait=wait, watch=watch, as_json=as_json))


async def _submit(where: Where, fields: dict[str, Any], *, wait: bool, watch: bool, as_json: bool) -> None:
    from callboard.deploy.cells import at_home, home_of
    from callboard.deploy.cli.cells import cells_of
    from callboard.deploy.cli.publishing import Publisher

    cells = cells_of(where)
    fields = at_home(fields, cells) if cells else fields
    async with _place_for(where, cells, home_of(fields)) as place:
        if isinstance(place, Publisher):
            if watch:
                raise click.UsageError("the key of a publisher hears nothing before the end: leave out --watch")
            await _publish(place, fields, wait=wait, as_json=as_json)
        else:
            await _submit_to(place, fields, wait=wait, watch=watch, as_json=as_json)


async def _publish(publisher: "Publisher", fields: dict[str, Any], *, wait: bool, as_json: bool) -> None:
    """Submit without reading the log."""
    from callboard.events.task import Status

    outcome = await publisher.submit(fields if wait else fields | {"reply": "accepted"})
    if wait or outcome.status is Status.REJECTED:
        await _print_end(publisher, outcome, as_json=as_json)
    else:
        _print_receipt(outcome.task, outcome.status, as_json=as_json)


async def _submit_to(place: "Place", fields: dict[str, Any], *, wait: bool, watch: bool, as_json: bool) -> None:
    import asyncio

    from callboard.deploy.cli.printing import warn, working

    handle = await place.board.submit(stream=watch, **fields)
    if place.alone:
        warn(f"task {handle.id} is kept, but no node runs here: nothing works on it until `callboard up` runs")
    if not wait or place.alone:
        _print_receipt(handle.id, (await handle.state()).status, as_json=as_json)
        if wait:
            raise click.exceptions.Exit(3)
        return
    waiting = asyncio.ensure_future(_say_if_stuck(handle))
    try:
        if watch:
            await _watch(place, handle, as_json=as_json)
        else:
            with working(f"Task {handle.id} is under way"):
                outcome = await _ended(handle)
            await _print_end(place, outcome, as_json=as_json)
    finally:
        waiting.cancel()


def _print_receipt(task: str, status: "Status", *, as_json: bool) -> None:
    from callboard.deploy.cli.printing import print_json

    if as_json:
        print_json({"task": task, "status": status})
    else:
        click.echo(task)


@asynccontextmanager
async def _place_for(where: Where, cells: "Sequence[Cell]", home: str | None) -> "AsyncIterator[Place | Publisher]":
    """Where a task is submitted: of several cells that of the id ``home``, else any that is up."""
    from callboard.bus.errors import Unavailable
    from callboard.deploy.cells import by_lot
    from callboard.deploy.cli.cells import at
    from callboard.deploy.connect import NoNode

    if not cells or home is not None:
        async with _opened(at(where, home) if home is not None else where) as place:
            yield place
        return
    async with AsyncExitStack() as stack:
        told: list[str] = []
        for cell in by_lot(cells):
            try:
                place = await stack.enter_async_context(_opened(where._replace(cell=cell.shards)))
            except (Unavailable, NoNode) as error:
                told.append(str(error))
            else:
                yield place
                return
        raise Unavailable(f"no cell is up: {'; '.join(told)}")


@asynccontextmanager
async def _opened(where: Where) -> "AsyncIterator[Place | Publisher]":
    """The board, or what a publisher has in its stead."""
    from callboard.deploy.cli.publishing import is_publishers, publisher_at
    from callboard.deploy.cli.session import board_at

    async with publisher_at(where) if is_publishers(where) else board_at(where) as place:
        yield place


async def _watch(place: "Place", handle: "TaskHandle", *, as_json: bool) -> None:
    from callboard.actors.task_handle import TaskFailed
    from callboard.deploy.cli.printing import harmless, print_json, warn

    call, shown = 0, False
    try:
        async for token in handle.stream():
            if shown and token.call > call:
                click.echo()
                warn("that try did not count; the answer begins anew")
            call, shown = token.call, True
            if as_json:
                print_json({"token": str(token), "call": token.call})
            else:
                click.echo(harmless(token) if sys.stdout.isatty() else token, nl=False)
    except TaskFailed as failed:
        if shown and not as_json:
            click.echo()
        await _print_end(place, failed.outcome, as_json=as_json)
        return
    if as_json:
        await _print_end(place, await handle.result(), as_json=True)
    else:
        click.echo()


async def _say_if_stuck(handle: "TaskHandle") -> None:
    """After a while, say why nothing happens, if nobody has taken the task."""
    import asyncio

    from callboard.bus.errors import BusError
    from callboard.deploy.cli.printing import warn
    from callboard.events.task import Status

    await asyncio.sleep(PATIENCE_S)
    try:
        task = await handle.state()
    except BusError:
        return  # whoever waits for the answer is told
    if task.status is Status.SUBMITTED:
        warn(f"nobody has routed task {handle.id} yet: does a node run there? It is kept until one does")
    elif task.status is Status.PARKED and task.parked:
        warn(f"task {handle.id} waits: {task.parked.reason}")


async def _ended(handle: "TaskHandle") -> "Outcome":
    from callboard.actors.task_handle import TaskFailed

    try:
        return await handle.result()
    except TaskFailed as failed:
        return failed.outcome


async def _print_end(place: "Place | Publisher", outcome: "Outcome", *, as_json: bool) -> None:
    """Print how it ended. Raises TaskFailed when that is without an answer, Forbidden when that can't be read."""
    from callboard.actors.task_handle import TaskFailed
    from callboard.deploy.cli.printing import print_json, print_text
    from callboard.deploy.cli.publishing import Publisher, text_told
    from callboard.deploy.cli.session import whole_text
    from callboard.events.task import Status

    if as_json:
        print_json(outcome)
    elif outcome.status is Status.COMPLETED:
        if outcome.output or not outcome.tool_calls:
            text = outcome.output or ""
            print_text(text_told(text) if isinstance(place, Publisher) else await whole_text(place, text))
        for call in outcome.tool_calls:
            print_text(f"{call.name}({call.arguments})")
    if outcome.status is not Status.COMPLETED:
        raise TaskFailed(outcome)


def _input(text: str | None, file: BinaryIO | None, *, alone: bool) -> str:
    """What is asked; nothing is fine unless it stands ``alone``, without a context."""
    if text is not None and file is not None:
        raise click.UsageError("give either TEXT or --file, not both")
    if text is not None and text != "-":
        return text
    if text is None and file is None and not alone:
        return ""
    if text is None and file is None and sys.stdin.isatty():
        raise click.UsageError('nothing to submit: give TEXT, as in callboard submit "Say hello", or --file')
    stored = (file or sys.stdin.buffer).read()
    try:
        return stored.decode()
    except UnicodeDecodeError as error:
        raise click.UsageError(f"the text is not UTF-8: {error}") from None


def _fields(given: dict[str, Any]) -> dict[str, Any]:
    """The fields of a submission, without those that were not asked for."""
    fields = task_fields(given)
    if "deadline" in fields:
        fields["deadline"] = _time(fields["deadline"])
    return fields


def _time(text: str) -> Any:
    from datetime import datetime

    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"--deadline {text!r} is not a time such as 2030-01-31T12:00:00Z") from None
