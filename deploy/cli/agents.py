"""`callboard agents`."""

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from callboard.deploy.cli.options import Where, as_json, where
from callboard.deploy.cli.subcommands import Subcommands

if TYPE_CHECKING:
    from callboard.deploy.connect import Place
    from callboard.events.agent import AgentState, Work
    from callboard.events.envelope import Envelope
    from callboard.projections.agents import AgentRow, Agents


@click.group(cls=Subcommands, default="list")
def agents() -> None:
    """List and show agents; try again what they have set aside."""


@agents.command("list")
@where
@as_json
def agents_list(where: Where, as_json: bool) -> None:
    """List all agents, those that changed last first.

    --json prints a list of {agent, doing, host, message, waits, inbox, finished, dead, failure, changed}.
    """
    from callboard.deploy.cli.cells import in_each

    in_each(where, partial(_list, as_json=as_json), as_json=as_json)


@agents.command("show")
@click.argument("agent")
@where
@as_json
def agents_show(agent: str, where: Where, as_json: bool) -> None:
    """Show one agent: what it works at, what it remembers, what it has set aside, and its newest events.

    --json prints {agent, host, epoch, finished, work {message, from, attempts, waits, steps {step: {runs, done,
    failure}}}, inbox [messages], dead {message: reason}, memory {key: value}, events [{type, time, data}]}.
    """
    from callboard.deploy.cli.session import run

    run(_show(agent, where, as_json=as_json))


@agents.command("requeue")
@click.argument("agent")
@click.argument("message")
@where
def agents_requeue(agent: str, message: str, where: Where) -> None:
    """Let AGENT try a MESSAGE again that it has set aside; the steps that succeeded stay done."""
    from callboard.deploy.cli.session import run

    run(_requeue(agent, message, where))


async def _list(where: Where, *, as_json: bool) -> None:
    from callboard.deploy.cli.printing import clock, one_line, print_json, print_table
    from callboard.deploy.cli.session import board_at
    from callboard.events.agent_names import name_of

    async with board_at(where) as place:
        known = await _agents(place)
    rows = sorted(known.by_id.values(), key=lambda row: row.changed, reverse=True)
    if as_json:
        print_json([_document(row) for row in rows])
    elif rows:
        print_table(
            ("agent", "doing", "inbox", "finished", "dead", "changed", "failure"),
            (
                (
                    name_of(row.id),
                    _doing(row),
                    str(row.waiting),
                    str(row.finished),
                    str(row.dead),
                    clock(row.changed),
                    one_line(row.failure, 60),
                )
                for row in rows
            ),
            right=("inbox", "finished", "dead"),
        )
    elif known.defined:
        click.echo(f'no agents yet: callboard send {next(iter(known.defined))} "Hello" begins one')
    else:
        click.echo("no agents: `callboard run FILE` serves those that a Python file defines")


async def _show(agent: str, where: Where, *, as_json: bool) -> None:
    from callboard.bus.aggregates import AGENT, after, unborn
    from callboard.bus.subjects import entity
    from callboard.deploy.cli.printing import print_json
    from callboard.deploy.cli.session import board_at
    from callboard.events.agent_names import id_of
    from callboard.events.errors import InvalidInput

    agent_id = id_of(agent)
    async with board_at(where, of=agent_id) as place:
        records = await place.bus.log.read(entity("agent", agent_id))
        messages = [await place.bus.privacy.read(record.data) for record in records]
        loaded = unborn(AGENT, agent_id)
        for record, envelopes in zip(records, messages, strict=True):
            loaded = after(AGENT, loaded, record.seq, record.data, envelopes)
        state = loaded.state
        if not state.arrived:
            raise InvalidInput(f"no agent {agent!r}: see `callboard agents`")
        memory = {key: await _value(place, value) for key, value in sorted(state.memory.items())}
    events = [envelope for envelopes in messages for envelope in envelopes]
    if as_json:
        print_json(_whole(state, memory, events))
    else:
        _print(state, memory, events)


async def _value(place: "Place", value: Any) -> Any:
    from callboard.actors.agents.values import read
    from callboard.events.errors import Forgotten
    from callboard.events.private import forgotten_note

    try:
        return await read(place.bus, value)
    except Forgotten as error:
        return forgotten_note(error.person)


async def _requeue(agent: str, message: str, where: Where) -> None:
    from callboard.deploy.cli.session import board_at, the_one
    from callboard.events.agent_names import id_of

    async with board_at(where, of=id_of(agent)) as place:
        state = await place.board.messages.state(id_of(agent))
        found = the_one(message, state.dead, "set-aside message", f"callboard agents show {agent}")
        await place.board.messages.requeue(agent, found)
    click.echo(f"{agent} tries message {found} again")


async def _agents(place: "Place") -> "Agents":
    from callboard.actors.projector import Projector
    from callboard.deploy.cli.printing import working
    from callboard.projections.agents import AGENTS, FOLLOWED

    projector = Projector(place.bus, AGENTS, subjects=FOLLOWED, snapshot="agents")
    with working("Reading the log"):
        await projector.catch_up()
    return projector.state(AGENTS)


def _doing(row: "AgentRow") -> str:
    if not row.work:
        return "idle" if not row.waiting else "has mail"
    if row.rests:
        return f"rests: {', '.join(wait.partition('/')[0] for wait in row.waits)}"
    return f"works on {row.host}"


def _document(row: "AgentRow") -> dict[str, Any]:
    from callboard.events.agent_names import name_of

    return {
        "agent": name_of(row.id),
        "doing": _doing(row),
        "host": row.host,
        "message": row.work or None,
        "waits": row.waits,
        "inbox": row.waiting,
        "finished": row.finished,
        "dead": row.dead,
        "failure": row.failure,
        "changed": row.changed,
    }


def _whole(state: "AgentState", memory: dict[str, Any], events: "list[Envelope]") -> dict[str, Any]:
    from callboard.events.agent_names import name_of

    work = state.work
    return {
        "agent": name_of(state.id),
        "host": state.host,
        "epoch": state.epoch,
        "finished": state.finished,
        "work": _work(work) if work else None,
        "inbox": [each.received.message for each in state.inbox.values()],
        "dead": {message: dead.failure.message if dead.failure else "" for message, dead in state.dead.items()},
        "memory": memory,
        "events": [{"type": each.type, "time": each.time, "data": each.event} for each in events],
    }


def _work(work: "Work") -> dict[str, Any]:
    return {
        "message": work.received.message,
        "from": work.received.sender or work.received.by,
        "attempts": work.attempts,
        "waits": work.waits,
        "steps": {
            name: {"runs": step.runs, "done": step.done, "failure": step.failure}
            for name, step in sorted(work.steps.items())
        },
    }


def _print(state: "AgentState", memory: dict[str, Any], events: "list[Envelope]") -> None:
    import msgspec

    from callboard.deploy.cli.printing import clock, one_line, print_table
    from callboard.events.agent_names import name_of
    from callboard.events.envelope import short_type

    click.echo(f"agent {name_of(state.id)}: {state.finished} messages done, {len(state.inbox)} in its inbox")
    if work := state.work:
        waits = f", waits for {', '.join(work.waits)}" if work.waits else f", on host {state.host}"
        click.echo(f"works at message {work.received.message}{waits}")
        if work.failure:
            click.echo(f"  failed {work.attempts} times, last: {one_line(work.failure.message, 120)}")
        for name, step in sorted(work.steps.items()):
            told = step.failure.message if step.failure else "done" if step.done else "under way"
            again = f" (ran {step.runs} times)" if step.runs > 1 else ""
            click.echo(f"  step {one_line(name, 40)}: {one_line(told, 100)}{again}")
    for message, dead in state.dead.items():
        click.echo(f"set aside: {message}: {one_line(dead.failure.message if dead.failure else '', 120)}")
        click.echo(f"  try again with: callboard agents requeue {name_of(state.id)} {message}")
    for key, value in memory.items():
        click.echo(f"remembers {key}: {one_line(msgspec.json.encode(value).decode(), 100)}")
    newest = events[-20:]
    print_table(
        ("time", "event", "what"),
        (
            (clock(each.time), short_type(each.event), one_line(msgspec.json.encode(each.event).decode(), 100))
            for each in newest
        ),
    )
