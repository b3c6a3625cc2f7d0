"""The projections that every node keeps at the head of the log, and whose snapshots are saved together."""

from typing import Any, Final

from callboard.projections.backends import BACKENDS
from callboard.projections.budgets import BUDGETS
from callboard.projections.cost import COST
from callboard.projections.learning import LEARNING
from callboard.projections.load import LOAD
from callboard.projections.prefixes import PREFIXES
from callboard.projections.projection import Projection
from callboard.projections.routers import ROUTERS
from callboard.projections.tasks import TASKS

LIVE: Final[tuple[Projection[Any], ...]] = (BACKENDS, LOAD, TASKS, COST, LEARNING, BUDGETS, PREFIXES, ROUTERS)
