"""An auditor who reads a log and keeps the budgets' accounts by rules of his own."""

from collections import Counter
from collections.abc import Mapping

from callboard.events import budget, task
from callboard.events.budget import Budget
from callboard.events.envelope import Envelope

ENDS = (task.Released, task.Parked, task.Rejected, task.Cancelled, task.Expired, task.DeadLettered)
"""What ends an assignment whose call has not begun."""


def audit(history: list[Envelope], limits: Mapping[str, int], parents: Mapping[str, str | None]) -> Counter:
    """Check at every message, by the budgets' books, and by what calls cost or may yet cost, computed independently.

    Returns what was spent or may yet be, by lease and by budget.
    """
    books = {name: Budget(name) for name in limits}
    exposed, covered, leases = Counter(), {}, {}
    holds, calls, void = {}, {}, set()

    def expose(hold, amount: int) -> None:
        exposed[hold.lease] += amount
        name = hold.budget
        while name is not None:
            exposed[name] += amount
            name = parents[name]

    for envelope in history:
        event, entity = envelope.event, envelope.entity
        if envelope.kind == "budget":
            books[entity] = budget.evolve(books[entity], event)
            assert books[entity].settled + books[entity].held <= books[entity].limit
        match event:
            case budget.Reserved() if event.budget == entity:
                leases[event.hold], covered[event.hold] = entity, event.amount
            case budget.Sealed() | budget.Settled() | budget.Refunded():
                leases.pop(event.hold, None)
                if isinstance(event, budget.Settled):
                    covered[event.hold] = event.amount + event.kept
                    assert exposed[event.hold] <= covered[event.hold], "money was given back that is spoken for"
                elif isinstance(event, budget.Refunded):
                    assert exposed[event.hold] == 0
            case task.Assigned() if event.hold is None or not event.hold.lease:
                holds.pop(entity, None)
            case task.Assigned():
                holds[entity] = event.hold
                void.discard(entity)
                if event.hold.lease not in leases:
                    void.add(entity)
                    continue
                expose(event.hold, event.hold.amount)
                assert exposed[event.hold.lease] <= covered[event.hold.lease], "a lease was overdrawn"
            case task.Started() if entity in holds:
                assert entity not in void, "a call was made without money"
                calls[entity, event.call] = holds.pop(entity)
            case task.Completed() | task.Failed() | task.Spent() if (entity, event.call) in calls:
                hold = calls.pop((entity, event.call))
                assert event.cost <= hold.amount
                expose(hold, event.cost - hold.amount)
            case _ if isinstance(event, ENDS) and entity in holds and entity not in void:
                hold = holds.pop(entity)
                expose(hold, -hold.amount)
        assert all(exposed[name] <= limit for name, limit in limits.items()), (envelope, exposed)
    return exposed
