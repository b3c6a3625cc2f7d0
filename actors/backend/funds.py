"""Whether the money of an assignment is there when its call is to begin, and what the call may take. Pure."""

from msgspec.structs import replace

from callboard.events.money import Price
from callboard.events.placement import Hedged
from callboard.events.task import Assigned
from callboard.events.task_spec import Hold, TaskSpec
from callboard.projections.budgets import Budgets


def refusal(budgets: Budgets, task_id: str, assigned: Assigned | Hedged, price: Price) -> str | None:
    """Why the call can't be made: its lease was sealed before the assignment, or does not cover today's price.

    ``budgets`` are as of the assignment or later: so everybody sees the same.
    """
    hold = assigned.hold if isinstance(assigned, Assigned) else None
    if hold is None:
        return None
    charge = budgets.charges.get(task_id)
    if hold.lease and (charge is None or charge.attempt != assigned.attempt):
        return f"the money of budget {hold.budget} was called back before the assignment was made"
    if price.ceiling(hold.input, hold.output) > hold.amount:
        return f"{assigned.backend} has become dearer than what is held of budget {hold.budget}"
    return None


def within(spec: TaskSpec, hold: Hold | None) -> TaskSpec:
    """The task as it is put to the model: with the limit on its answer that the money allows."""
    return spec if hold is None else replace(spec, max_tokens=hold.output)
