"""`callboard approvals`."""

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from callboard.deploy.cli.options import Where, as_json, where

if TYPE_CHECKING:
    from callboard.events.approval import Approval


@click.command()
@click.option("--all", "all_", is_flag=True, help="Also those that were answered, expired or superseded.")
@where
@as_json
def approvals(all_: bool, where: Where, as_json: bool) -> None:
    """List what people are asked to approve, newest first; answer with `callboard approve` or `callboard deny`.

    --json prints a list of {approval, status, question, action, hash, asked_by, expires, replaces, by, note}; by and
    note are of the answer.
    """
    from callboard.deploy.cli.cells import in_each

    in_each(where, partial(_approvals, all_=all_, as_json=as_json), as_json=as_json)


async def _approvals(where: Where, *, all_: bool, as_json: bool) -> None:
    from callboard.deploy.cli.printing import clock, one_line, print_json, print_table
    from callboard.deploy.cli.session import board_at
    from callboard.events.agent_names import name_of
    from callboard.events.approval import Status

    async with board_at(where) as place:
        found = [each for each in await place.board.approvals.all() if all_ or each.status is Status.WAITING]
    if as_json:
        print_json([document(each) for each in found])
    elif found:
        print_table(
            ("approval", "status", "asked by", "expires", "what"),
            (
                (
                    each.id,
                    f"{each.status} by {each.by}" if each.by else each.status,
                    name_of(each.requested.by),
                    clock(each.requested.expires) if each.requested.expires else "",
                    one_line(what(each), 120),
                )
                for each in found
                if each.requested
            ),
        )
    else:
        click.echo("nothing to approve" if not all_ else "no approvals: agents and programs ask for them (board.ask)")


def document(approval: "Approval") -> dict[str, Any]:
    """What ``--json`` prints of one."""
    asked = approval.requested
    return {
        "approval": approval.id,
        "status": approval.status,
        "question": asked.question if asked else "",
        "action": asked.action if asked else None,
        "hash": asked.hash if asked else "",
        "asked_by": asked.by if asked else "",
        "expires": asked.expires if asked else None,
        "replaces": asked.replaces if asked else None,
        "by": approval.by,
        "note": approval.note,
    }


def what(approval: "Approval") -> str:
    """What is asked, for a person: the question, and the action itself."""
    import msgspec

    asked = approval.requested
    if asked is None:
        return ""
    action = asked.action if isinstance(asked.action, str) else msgspec.json.encode(asked.action).decode()
    return f"{asked.question}  {action}" if asked.question else action
