"""Changing a backend by an event in the log."""

import click

from callboard.deploy.cli.options import Where
from callboard.deploy.cli.printing import print_json
from callboard.deploy.cli.session import session_at, warn_if_alone
from callboard.deploy.settings_values import did_you_mean
from callboard.events.backend import BackendEvent
from callboard.events.errors import InvalidInput
from callboard.projections.backends import BACKENDS


async def print_change(name: str, event: BackendEvent, where: Where, *, as_json: bool) -> None:
    """Append ``event`` and print the backend after it. Raises InvalidInput when there is no such backend."""
    async with session_at(where) as session:
        known = session.projector.state(BACKENDS).by_id
        if name not in known:
            guess = did_you_mean(name, known)
            others = f"did you mean {guess!r}?" if guess else f"registered are {', '.join(sorted(known)) or 'none'}"
            raise InvalidInput(f"unknown backend {name!r}; {others}")
        after = await session.place.board.change(name, event)
        warn_if_alone(session.place, "this has no effect")
    changed = after != known[name]
    if as_json:
        shown = {"backend": name, "replicas": after.replicas, "draining": after.draining, "changed": changed}
        print_json(shown)
        return
    draining = ", draining" if after.draining else ""
    plural = "" if after.replicas == 1 else "s"
    click.echo(f"{name}: {after.replicas} replica{plural}{draining}" + ("" if changed else " (as before)"))
