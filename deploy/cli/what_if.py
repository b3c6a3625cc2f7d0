"""`callboard replay --what-if`: the same log under other rules."""

from collections.abc import Sequence

from callboard.deploy.cli.options import Where
from callboard.deploy.connect import Place
from callboard.events.errors import InvalidInput


async def what_if(
    place: Place,  # noqa: ARG001
    given: Sequence[str],
    where: Where,  # noqa: ARG001
    *,
    until: int | None,  # noqa: ARG001
    as_json: bool,  # noqa: ARG001
) -> None:
    """Decide again what was decided up to the log sequence ``until``, once for each of the changes that are ``given``.

    Each is what one ``--what-if`` said: ``KEY=VALUE[,KEY=VALUE…]``.
    """
    raise InvalidInput(f"--what-if {' '.join(given)}: not there yet")
