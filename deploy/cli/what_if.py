"""`callboard replay --what-if`: the same log under other rules."""

from collections.abc import Sequence

from callboard.deploy.connect import Place
from callboard.events.errors import InvalidInput


async def what_if(place: Place, changes: Sequence[str], *, until: int, as_json: bool) -> None:
    """Decide again what was decided up to the log sequence ``until``, once for each of ``changes``.

    Each is what was given as one ``--what-if``: ``KEY=VALUE[,KEY=VALUE…]``.
    """
    raise InvalidInput("--what-if is not there yet")
