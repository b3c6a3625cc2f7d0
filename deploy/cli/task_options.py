"""What a task can be asked for on the command line, whether it comes once or again and again."""

from collections.abc import Callable
from typing import Any, BinaryIO, Final, TypeVar

import click

from callboard.deploy.cli.options import seconds, usd

F = TypeVar("F", bound=Callable[..., Any])

OPTIONS: Final = (
    click.option("--system", metavar="TEXT", help="Instructions to the model."),
    click.option("--context", metavar="CONTEXT", help="The shared context to read first, as plan, or plan@17."),
    click.option("--schema", type=click.File("rb"), help="JSON Schema that the answer must fit."),
    click.option("--tools", type=click.File("rb"), help="Tools that the model may ask for, as JSON; see below."),
    click.option("--needs", metavar="CAP", multiple=True, help="What the backend must offer, as chat; several times."),
    click.option("--budget", metavar="NAME", help="The budget that pays for it; see `callboard budget`."),
    click.option("--max-cost", metavar="USD", callback=usd, help="The most it may cost."),
    click.option("--max-tokens", type=click.IntRange(1), metavar="N", help="The longest answer."),
    click.option("--timeout", metavar="DURATION", callback=seconds, help="Give up after this long, as 30s."),
    click.option("--policy", metavar="NAME", help="How to choose the backend, as cheapest."),
    click.option("--check", metavar="NAME", help="What --policy cascade verifies with: schema, judge, or your own."),
    click.option("--backend", metavar="NAME", help="The one backend that may do it."),
    click.option("--tag", "tags", metavar="TAG", multiple=True, help="For `callboard costs --by tag`; several times."),
    click.option("--private", metavar="PERSON", help="Whom it is about: kept encrypted until `callboard forget`."),
    click.option("--priority", type=click.IntRange(0, 9), default=0, help="9 is first."),
)


def task_options(command: F) -> F:
    """Give a command all of `OPTIONS`; `task_fields` takes what was given."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def task_fields(given: dict[str, Any]) -> dict[str, Any]:
    """The fields of a submission, without those that were not asked for. Raises UsageError for what is no JSON."""
    needs, schema, tools = (given.pop(name) for name in ("needs", "schema", "tools"))
    renamed = {"timeout": "timeout_s", "delay": "delay_s"}
    fields = {renamed.get(name, name): value for name, value in given.items() if value is not None}
    if needs:
        fields["needs"] = {"capabilities": needs}
    if schema:
        fields["schema"] = _json(schema, "--schema", dict, 'a JSON Schema is an object, such as {"type": "string"}')
    if tools:
        fields["tools"] = _json(tools, "--tools", list, 'give a list, such as [{"name": "now", …}]')
    return fields


def _json(file: BinaryIO, option: str, shape: type, hint: str) -> Any:
    import json

    try:
        value = json.load(file)
    except ValueError as error:
        raise click.UsageError(f"{option} {file.name}: not JSON: {error}") from None
    if not isinstance(value, shape):
        raise click.UsageError(f"{option} {file.name}: {hint}")
    return value
