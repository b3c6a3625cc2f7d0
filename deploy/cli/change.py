"""Changing a backend by an event in the log."""

from collections.abc import Callable

import click

from callboard.deploy.cli.cells import in_one
from callboard.deploy.cli.options import Where
from callboard.deploy.cli.printing import print_json
from callboard.deploy.cli.session import session_at, warn_if_alone
from callboard.deploy.settings_values import did_you_mean
from callboard.events.backend import Backend, BackendEvent
from callboard.events.errors import InvalidInput
from callboard.projections.backends import BACKENDS


async def print_change(
    name: str, wish: Callable[[Backend], BackendEvent | None], where: Where, *, as_json: bool
) -> None:
    """Append what is wished, and print the backend after it. Raises InvalidInput when there is no such backend."""
    async with session_at(in_one(where)) as session:
        known = session.projector.state(BACKENDS).by_id
        if name not in known:
            guess = did_you_mean(name, known)
            others = f"did you mean {guess!r}?" if guess else f"registered are {', '.join(sorted(known)) or 'none'}"
            raise InvalidInput(f"unknown backend {name!r}; {others}")
        event = wish(known[name])
        after = await session.place.board.change(name, *([event] if event else []))
        warn_if_alone(session.place, "this has no effect")
    changed = after != known[name]
    if as_json:
        print_json(
            {
                "backend": name,
                "replicas": after.replicas,
                "draining": after.draining,
                "held": _held(after),
                "changed": changed,
            }
        )
        return
    plural = "" if after.replicas == 1 else "s"
    more = (
        ", draining" if after.draining else "",
        f", whatever its load (`callboard scale {name} --auto` ends that)" if _held(after) else "",
        "" if changed else " (as before)",
    )
    click.echo(f"{name}: {after.replicas} replica{plural}{''.join(more)}")


def _held(backend: Backend) -> bool:
    """Whether its load would change its replicas if nobody had said how many there should be."""
    return backend.held and backend.spec is not None and backend.spec.scaling is not None
