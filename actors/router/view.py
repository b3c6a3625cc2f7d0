"""What a node's projections show to whoever decides on it."""

from collections.abc import Mapping

from callboard.actors.projector import Projector
from callboard.actors.router.route import View
from callboard.projections.backends import BACKENDS
from callboard.projections.learning import LEARNING
from callboard.projections.load import LOAD, Work
from callboard.projections.prefixes import PREFIXES
from callboard.projections.routers import ROUTERS


def view(projector: Projector, extra: Mapping[str, Work]) -> View:
    """The view of now; ``extra`` is work that the projections do not show yet."""
    return View(
        backends=projector.state(BACKENDS).by_id,
        loads=projector.state(LOAD).backends,
        extra=extra,
        seen=projector.seq,
        learning=projector.state(LEARNING),
        prefixes=projector.state(PREFIXES),
        routers=projector.state(ROUTERS).active,
    )
