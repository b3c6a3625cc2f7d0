"""Setting budgets, and seeing that a task names one that exists."""

import difflib

from callboard.bus.entities import NEWEST, Entities
from callboard.bus.log import Log
from callboard.bus.subjects import entity, parse
from callboard.events.budget import Budget, Granted, OnBreach
from callboard.events.errors import InvalidInput
from callboard.events.ids import checked_id


async def check_budget(log: Log, known: set[str], name: str | None) -> None:
    """Raise InvalidInput, with what was probably meant, unless there is a budget of this name; None is fine.

    ``known`` are those that were found before. A budget's whole history is long, so only its grants are looked for.
    """
    if name is None or name in known:
        return
    if not [batch async for batch in log.read_all(f"{entity('budget', name)}.granted")]:
        raise InvalidInput(f"unknown budget {name!r}{await _hint(log, name)}")
    known.add(name)


async def grant(
    log: Log,
    budgets: Entities[Budget],
    name: str,
    *,
    limit: int | None = None,
    parent: str | None = None,
    on_breach: OnBreach | None = None,
) -> Budget:
    """Set a budget; what is None stays as it is. An empty ``parent`` makes it part of none.

    Raises:
        InvalidInput: a new budget without a limit, a parent that does not exist, or one that is part of this budget.
    """
    checked_id(name, "budget")
    now = (await budgets.load(name, at_least=NEWEST)).state
    if limit is None and not now.granted:
        raise InvalidInput(f"budget {name!r} is new: give it a limit")
    if parent:
        await _check_parent(log, budgets, name, parent)

    def wish(budget: Budget) -> list[Granted]:
        return [
            Granted(
                limit=budget.limit if limit is None else limit,
                parent=budget.parent if parent is None else parent or None,
                on_breach=on_breach or budget.on_breach,
            )
        ]

    return (await budgets.tell(name, wish)).entity.state


async def _check_parent(log: Log, budgets: Entities[Budget], name: str, parent: str) -> None:
    at: str | None = checked_id(parent, "the parent budget")
    path = [name]
    while at is not None:
        if at in path:
            raise InvalidInput(f"budget {name!r} can't be part of {parent!r}: that is part of {name!r} itself")
        path.append(at)
        above = (await budgets.load(at, at_least=NEWEST)).state
        if not above.granted:
            raise InvalidInput(f"budget {name!r} can't be part of {at!r}, an unknown budget{await _hint(log, at)}")
        at = above.parent


async def _hint(log: Log, name: str) -> str:
    known = {parse(record.subject).id async for batch in log.read_all("evt.*.budget.*.granted") for record in batch}
    close = difflib.get_close_matches(name, sorted(known), 1)
    if close:
        return f"; did you mean {close[0]!r}?"
    told = f"known: {', '.join(sorted(known)[:10])}" if known else "there is none yet"
    return f" ({told}): callboard budget set {name} --limit 5usd makes it"
