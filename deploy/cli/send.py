"""`callboard send`."""

from typing import TYPE_CHECKING, Any, BinaryIO, Final

import click

from callboard.deploy.cli.options import Where, as_json, seconds, where

if TYPE_CHECKING:
    from callboard.actors.agents.messages import MessageHandle
    from callboard.events.agent import AgentState

LOOK_S: Final = 2.0


@click.command()
@click.argument("agent")
@click.argument("message", required=False)
@click.option("-f", "--file", type=click.File("rb"), help="Read the message from a file; - is standard input.")
@click.option("-j", "--as-data", is_flag=True, help="MESSAGE is JSON, not a text.")
@click.option("--wait/--no-wait", default=True, help="Wait for the answer, or print the message's id at once.")
@click.option("--timeout", metavar="DURATION", callback=seconds, help="Wait no longer than this, as 10s.")
@click.option("--key", metavar="KEY", help="The same key is the same message: safe to send again.")
@click.option("--by", metavar="NAME", default="", help="Who sends it.")
@where
@as_json
def send(agent: str, message: str | None, file: BinaryIO | None, where: Where, **given: Any) -> None:
    """Send AGENT a MESSAGE (- reads standard input), wait for the answer and print it.

    AGENT is a name that `callboard run` serves, as writer, or an instance of it, as writer/customer-42, which begins to
    live with its first message.

    --json prints {agent, message, answer, failure {kind, message}}; with --no-wait {agent, message}.
    """
    from callboard.deploy.cli.session import run

    body = _body(message, file, as_data=given.pop("as_data"))
    run(_send(where, agent, body, **given))


def _body(message: str | None, file: BinaryIO | None, *, as_data: bool) -> Any:
    import sys

    import msgspec

    if (message is None) == (file is None):
        raise click.UsageError("give the agent a MESSAGE, or --file" if file is None else "give MESSAGE or --file")
    try:
        if file is not None:
            text = file.read().decode()
        else:
            text = sys.stdin.buffer.read().decode() if message == "-" else str(message)
        return msgspec.json.decode(text) if as_data else text
    except UnicodeDecodeError as error:
        raise click.UsageError(f"the message is no UTF-8 text: {error}") from None
    except msgspec.MsgspecError as error:
        raise click.UsageError(f"the message is no JSON: {error}") from None


async def _send(
    where: Where,
    agent: str,
    body: Any,
    *,
    wait: bool,
    timeout: float | None,
    key: str | None,
    by: str,
    as_json: bool,
) -> None:
    import asyncio

    import msgspec

    from callboard.actors.agents.errors import MessageFailed
    from callboard.deploy.cli.printing import harmless, print_json, warn, working
    from callboard.deploy.cli.session import board_at
    from callboard.events.agent_names import id_of
    from callboard.events.errors import CallboardError

    async with board_at(where, of=id_of(agent)) as place:
        sent = await place.board.send(agent, body, key=key, by=by)
        named = {"agent": sent.agent, "message": sent.id}
        if place.alone:
            warn(
                f"message {sent.id} is kept, but no node runs here: nobody works at it until `callboard run FILE` does"
            )
        if not wait or place.alone:
            print_json(named) if as_json else click.echo(sent.id)
            if wait:
                raise click.exceptions.Exit(3)
            return
        telling = asyncio.ensure_future(_tell_of(sent))
        try:
            with working(f"{sent.agent} works at message {sent.id}"):
                answer = await sent.result(timeout)
        except MessageFailed as failed:
            if not as_json:
                raise
            print_json({**named, "answer": None, "failure": failed.failure})
            raise click.exceptions.Exit(1) from None
        except TimeoutError:
            raise CallboardError(
                f"{sent.agent} has not answered message {sent.id} within {timeout:g} s; it goes on: "
                f"`callboard agents show {sent.agent}` tells how far it is"
            ) from None
        finally:
            telling.cancel()
    if as_json:
        print_json({**named, "answer": answer, "failure": None})
    else:
        click.echo(harmless(answer) if isinstance(answer, str) else msgspec.json.encode(answer).decode())


async def _tell_of(sent: "MessageHandle") -> None:
    """Say what goes wrong, and which people are waited for, as long as there is no answer."""
    import asyncio

    from callboard.deploy.cli.printing import warn

    told: set[str] = set()
    while True:
        await asyncio.sleep(LOOK_S)
        for line in _stuck(await sent.state(), sent.id):
            if line not in told:
                warn(line)
            told.add(line)


def _stuck(agent: "AgentState", message: str) -> list[str]:
    """Why an agent has not answered a message yet, in words."""
    from callboard.events.agent_names import name_of

    name, work = name_of(agent.id), agent.work
    if work is None:
        return [f"{name} has not begun with it: `callboard run FILE` lets agents live"] if agent.inbox else []
    if work.received.message != message:
        return [f"{name} works at another message first"]
    lines = [f"approval {wait.partition('/')[2]} is waited for" for wait in work.waits if wait.startswith("approval/")]
    if work.failure:
        tries = "once" if work.attempts == 1 else f"{work.attempts} times"
        lines.append(f"{name} has failed {tries}, and tries again: {work.failure.message}")
    return lines
