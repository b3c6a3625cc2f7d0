"""`callboard context`."""

from functools import partial
from typing import TYPE_CHECKING, Any, get_args

import click

from callboard.deploy.cli.options import Where, as_json, where
from callboard.deploy.cli.subcommands import Subcommands
from callboard.events.chat import Role
from callboard.events.context_events import Prefer
from callboard.events.context_version import ContextVersion, context_version
from callboard.events.errors import InvalidInput

if TYPE_CHECKING:
    from callboard.events.context import Operation


def meant(_ctx: click.Context, _argument: click.Parameter, value: str) -> ContextVersion:
    """``CONTEXT`` or ``CONTEXT@VERSION``."""
    try:
        return context_version(value)
    except InvalidInput as error:
        raise click.BadParameter(str(error)) from None


@click.group(cls=Subcommands, default="list")
def context() -> None:
    """Show, change, fork, compare and merge shared contexts: what agents and tasks know and say together.

    Where a CONTEXT is read, CONTEXT@VERSION is that context as it was then.
    """


@context.command("list")
@where
@as_json
def context_list(where: Where, as_json: bool) -> None:
    """List all contexts.

    --json prints a list of {context, version, messages, parent, at}.
    """
    from callboard.deploy.cli.cells import in_each

    in_each(where, partial(_list, as_json=as_json), as_json=as_json)


@context.command("show")
@click.argument("which", metavar="CONTEXT", callback=meant)
@click.option("--raw", is_flag=True, help="All messages, also those that a summary stands for.")
@where
@as_json
def context_show(which: ContextVersion, raw: bool, where: Where, as_json: bool) -> None:
    """Show what was said in CONTEXT, as a model would see it, and what is known.

    --json prints {context, version, parent, at, tokens, messages [{number, role, content, tool_calls, tool_call_id,
    origin}], summaries [{first, last, summary, tokens, by}], facts {key: value}, artifacts {key: {sha256, size,
    media}}}, with all messages; content is null for one that lies in the blob store, unless --raw is given.
    """
    from callboard.deploy.cli.session import run

    run(_show(which, where, raw=raw, as_json=as_json))


@context.command("say")
@click.argument("name", metavar="CONTEXT")
@click.argument("text")
@click.option("--private", metavar="PERSON", help="Whom a new context is about: it is kept encrypted.")
@click.option("--role", type=click.Choice(get_args(Role)), default="user", help="Who says it.  [default: user]")
@where
@as_json
def context_say(name: str, text: str, private: str | None, role: Role, where: Where, as_json: bool) -> None:
    """Add TEXT to the end of what was said in CONTEXT; one that there is not begins with it.

    --json prints {context, version}.
    """
    from callboard.deploy.cli.session import run
    from callboard.events.context import Say

    run(_change(name, Say(role, text), None, where, private=private, as_json=as_json))


@context.command("put")
@click.argument("name", metavar="CONTEXT")
@click.argument("key")
@click.argument("value")
@click.option("--private", metavar="PERSON", help="Whom a new context is about: it is kept encrypted.")
@click.option("--base", type=click.IntRange(0), help="The version that this was decided on.  [default: the newest]")
@where
@as_json
def context_put(
    name: str, key: str, value: str, private: str | None, base: int | None, where: Where, as_json: bool
) -> None:
    """Let KEY be known to be VALUE (JSON, or else text) in CONTEXT.

    With --base it is refused when another has changed KEY since.

    --json prints {context, version}.
    """
    from callboard.deploy.cli.session import run
    from callboard.events.context import Put

    run(_change(name, Put(key, _value(value)), base, where, private=private, as_json=as_json))


@context.command("drop")
@click.argument("name", metavar="CONTEXT")
@click.argument("key")
@click.option("--base", type=click.IntRange(0), help="The version that this was decided on.  [default: the newest]")
@where
@as_json
def context_drop(name: str, key: str, base: int | None, where: Where, as_json: bool) -> None:
    """Forget what is known under KEY in CONTEXT.

    --json prints {context, version}.
    """
    from callboard.deploy.cli.session import run
    from callboard.events.context import Drop

    run(_change(name, Drop(key), base, where, as_json=as_json))


@context.command("fork")
@click.argument("which", metavar="CONTEXT", callback=meant)
@click.argument("new", metavar="[NEW]", required=False)
@where
@as_json
def context_fork(which: ContextVersion, new: str | None, where: Where, as_json: bool) -> None:
    """Begin the context NEW (else one with an id of its own) as CONTEXT is, or was. Nothing is copied.

    --json prints {context, parent, at}.
    """
    from callboard.deploy.cli.session import run

    run(_fork(which, new, where, as_json=as_json))


@context.command("diff")
@click.argument("before", callback=meant)
@click.argument("after", callback=meant)
@where
@as_json
def context_diff(before: ContextVersion, after: ContextVersion, where: Where, as_json: bool) -> None:
    """Show what AFTER has that BEFORE has not: what was said, and what is known otherwise.

    --json prints {said [message], put [{key, value, artifact}], dropped [key]}.
    """
    from callboard.deploy.cli.session import run

    run(_diff(before, after, where, as_json=as_json))


@context.command("merge")
@click.argument("into", metavar="CONTEXT")
@click.argument("source", metavar="FROM")
@click.option("--prefer", type=click.Choice(get_args(Prefer)), help="Whose value is kept where both changed a key.")
@where
@as_json
def context_merge(into: str, source: str, prefer: Prefer | None, where: Where, as_json: bool) -> None:
    """Take over into CONTEXT what FROM has learned: a fork of it, or what it was forked from.

    When both have changed a key to something else, it is refused unless --prefer says whose value is kept: that of
    CONTEXT (ours) or of FROM (theirs).

    --json prints {context, source, at, operations, disagreements [{key, base, ours, theirs}], prefer}, or null when
    there is nothing new.
    """
    from callboard.deploy.cli.session import run

    run(_merge(into, source, prefer, where, as_json=as_json))


async def _list(where: Where, *, as_json: bool) -> None:
    from callboard.deploy.cli.printing import print_json, print_table
    from callboard.deploy.cli.session import board_at

    async with board_at(where) as place:
        found = await place.board.contexts.all()
    if as_json:
        print_json(
            [
                {
                    "context": each.id,
                    "version": each.version,
                    "messages": each.messages,
                    "parent": each.parent or None,
                    "at": each.at or None,
                }
                for each in found
            ]
        )
    elif found:
        print_table(
            ("context", "version", "messages", "forked from"),
            (
                (each.id, str(each.version), str(each.messages), f"{each.parent}@{each.at}" if each.parent else "")
                for each in found
            ),
            right=("version", "messages"),
        )
    else:
        click.echo('no contexts: callboard context say NAME "hello" begins one')


async def _show(which: ContextVersion, where: Where, *, raw: bool, as_json: bool) -> None:
    from callboard.deploy.cli.context_text import document, print_content
    from callboard.deploy.cli.printing import print_json
    from callboard.deploy.cli.session import board_at, whole_text

    async with board_at(where, of=which.id) as place:
        state = await place.board.contexts.state(*which)
        content = await place.board.contexts.content(*which)
        texts = [await whole_text(place, each.content) for each in content.messages] if raw else []
    if as_json:
        print_json(document(state, content, texts))
    else:
        print_content(state, content, texts)


async def _change(
    name: str, operation: "Operation", base: int | None, where: Where, *, private: str | None = None, as_json: bool
) -> None:
    from callboard.deploy.cli.printing import print_json
    from callboard.deploy.cli.session import board_at

    async with board_at(where, of=name) as place:
        version = await place.board.context(name, private=private or "").change(operation, base=base, by="command line")
    if as_json:
        print_json({"context": name, "version": version})
    else:
        click.echo(f"context {name} is at version {version}")


async def _fork(which: ContextVersion, new: str | None, where: Where, *, as_json: bool) -> None:
    from callboard.deploy.cli.printing import print_json
    from callboard.deploy.cli.session import board_at

    async with board_at(where, of=which.id) as place:
        state = await place.board.contexts.state(*which)
        fork = await place.board.contexts.fork(which.id, new, state.version)
    if as_json:
        print_json({"context": fork, "parent": which.id, "at": state.version})
    else:
        click.echo(fork)


async def _diff(before: ContextVersion, after: ContextVersion, where: Where, *, as_json: bool) -> None:
    from callboard.deploy.cli.context_text import print_difference
    from callboard.deploy.cli.printing import print_json
    from callboard.deploy.cli.session import board_at
    from callboard.events.context_content import difference

    async with board_at(where, of=before.id) as place:
        contexts = place.board.contexts
        found = difference(await contexts.content(*before), await contexts.content(*after))
    if as_json:
        print_json(found._asdict())
    else:
        print_difference(found)


async def _merge(into: str, source: str, prefer: Prefer | None, where: Where, *, as_json: bool) -> None:
    from callboard.deploy.cli.context_text import print_merged
    from callboard.deploy.cli.printing import print_json
    from callboard.deploy.cli.session import board_at

    async with board_at(where, of=into) as place:
        merged = await place.board.contexts.merge(into, source, prefer=prefer, by="command line")
    if not as_json:
        print_merged(into, source, merged)
    elif merged is None:
        print_json(None)
    else:
        told = ("source", "at", "operations", "disagreements", "prefer")
        print_json({"context": into, **{name: getattr(merged, name) for name in told}})


def _value(text: str) -> Any:
    import msgspec

    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
