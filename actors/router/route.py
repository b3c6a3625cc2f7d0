"""The routing decision, pure: a task and the view of the world in, the event to append out."""

import difflib
import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from msgspec import Struct

from callboard.actors.router.features import features
from callboard.actors.router.options import TIER_QUALITY, Option, Survey, required, survey
from callboard.actors.router.policies.policy import Policy
from callboard.events.backend import Backend, Breaker
from callboard.events.task import Assigned, DeadLettered, Expired, Parked, Rejected, Status, Task
from callboard.events.task_spec import Decision
from callboard.projections.load import BackendLoad
from callboard.projections.quality import Quality, estimates

Verdict: TypeAlias = Assigned | Parked | Rejected | DeadLettered | Expired

RETRY_S: Final = 0.5
RETRY_MAX_S: Final = 30.0
PPM: Final = 1_000_000


class View(Struct, frozen=True):
    """What the router knows. ``seen`` is the log sequence it stands at.

    Its own newest assignments are not in ``loads`` yet: ``extra`` are their tokens, as far as they go before the task
    in question, ``taken`` their number, by backend.

    ``money`` is what a micro-dollar counts for: more than 1 when spending runs ahead of its pace.
    """

    backends: Mapping[str, Backend]
    loads: Mapping[str, BackendLoad]
    extra: Mapping[str, int]
    seen: int
    quality: Quality = Quality()
    money: float = 1.0
    taken: Mapping[str, int] = {}


class Rules(Struct, frozen=True):
    """How the router is set up: policies by name, which one by default, and when to give up."""

    policies: Mapping[str, Policy]
    default: str = "balanced"
    max_attempts: int = 5


def route(task: Task, view: View, rules: Rules, now: datetime, seed: int) -> Verdict:
    """What is to be done with a task that waits. The same arguments give the same verdict."""
    spec = task.spec
    assert spec is not None
    if spec.deadline is not None and spec.deadline <= now:
        return Expired(spec.deadline)
    if task.tries >= rules.max_attempts:
        last = task.failure.message if task.failure else "no reason known"
        return DeadLettered(f"gave up after {task.tries} tries; the last one: {last}")
    if spec.not_before is not None and spec.not_before > now:
        return Parked("not before its time", spec.not_before)
    policy = rules.policies.get(spec.policy or rules.default)
    if policy is None:
        known = ", ".join(sorted(rules.policies))
        return Rejected(f"unknown policy {spec.policy!r}; known: {known}")
    looks = features(spec)
    found = surveyed(task, view, looks, now)
    if pause := _pause(task, found, view, now):
        return pause
    if not found.options:
        return _no_option(task, found, view)
    return _choose(task, found, view, policy, looks, seed)


def surveyed(task: Task, view: View, looks: bytes, now: datetime) -> Survey:
    """Every backend looked at for a task of these features."""
    priors = {name: TIER_QUALITY[backend.spec.tier] for name, backend in view.backends.items() if backend.spec}
    qualities = estimates(view.quality, looks, priors)
    return survey(task, view.backends, view.loads, view.extra, qualities, now, view.taken)


def seed_of(task: Task) -> int:
    """The seed of a task's next decision."""
    return int.from_bytes(f"{task.id}/{task.attempt}".encode()[-7:], "big")


def _pause(task: Task, found: Survey, view: View, now: datetime) -> Parked | None:
    """The wait before the backend that just failed a task is tried again, unless another can take it."""
    failure = task.failure if task.status is Status.FAILED else None
    if failure is None or failure.kind == "rate_limited" or not all(option.failed for option in found.options):
        return None
    later = task.backend in found.later and view.backends[task.backend or ""].breaker is Breaker.CLOSED
    if not (found.options or later):
        return None
    pause = min(RETRY_S * 2 ** max(task.tries - 1, 0), RETRY_MAX_S)
    return Parked(f"trying {task.backend} again: {failure.message}", now + timedelta(seconds=pause))


def _choose(task: Task, found: Survey, view: View, policy: Policy, looks: bytes, seed: int) -> Verdict:
    fresh = tuple(option for option in found.options if not option.failed)
    assert task.spec is not None
    options, crowded = _spread(task, fresh or found.options)
    shares = [option.capacity for option in options] if crowded else policy.shares(task.spec, options, view.money)
    winner, share = draw(options, shares, seed)
    reason = "by capacity, since all are busy" if crowded else policy.reason(winner)
    decision = Decision(
        policy=policy.name,
        reason="the only one that can" if len(found.options) == 1 else reason,
        seen=view.seen,
        candidates=(*(option.candidate for option in found.options), *found.excluded),
        seed=seed,
        propensity=PPM * share // sum(shares),
        features=looks,
    )
    return Assigned(winner.backend, task.attempt + 1, winner.tokens, decision, task.spec.priority)


def _spread(task: Task, options: tuple[Option, ...]) -> tuple[tuple[Option, ...], bool]:
    """Among whom a task is placed, and whether by capacity alone rather than by policy.

    One that is new gets no more than it can begin, as long as there are others. And what one backend did not do is not
    all left to the second best: a task that was placed before goes to one that can begin at once, whichever the policy
    likes best of those; while none can, to each in proportion to its capacity.
    """
    options = tuple(option for option in options if not option.full) or options
    if not task.attempt:
        return options, False
    roomy = tuple(option for option in options if option.room > 0)
    return roomy or options, not roomy and len(options) > 1


def draw(options: Sequence[Option], shares: Sequence[int], seed: int) -> tuple[Option, int]:
    """One of the options, each as often as its share says; and that share."""
    likely = [(option, share) for option, share in zip(options, shares, strict=True) if share > 0]
    if len(likely) == 1:
        return likely[0]
    return random.Random(seed).choices(likely, [share for _, share in likely])[0]


def _no_option(task: Task, found: Survey, view: View) -> Verdict:
    if not view.backends:
        return Parked("no backend is registered")
    if found.later:
        waits = [f"{c.backend} {c.excluded}" for c in found.excluded if c.backend in found.later]
        return Parked("; ".join(waits), found.until, tuple(sorted(found.later)))
    reason = f"no backend can do this: {_why_none(task, found, view)}"
    return DeadLettered(reason) if task.tries else Rejected(reason)


def _why_none(task: Task, found: Survey, view: View) -> str:
    assert task.spec is not None
    offered = {capability for b in view.backends.values() if b.spec for capability in b.spec.capabilities}
    told = f"offered: {', '.join(sorted(offered))}"
    for capability in task.spec.needs.capabilities:
        if capability not in offered:
            close = difflib.get_close_matches(capability, sorted(offered), 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            return f"unknown capability {capability!r}{hint} ({told})"
    for capability in required(task.spec):
        if capability not in offered:
            return (
                f"the task has {capability}, and none offers that ({told}): add it to the capabilities of one that does"
            )
    if task.spec.backend is not None and task.spec.backend not in view.backends:
        return f"unknown backend {task.spec.backend!r} (registered: {', '.join(sorted(view.backends))})"
    return "; ".join(f"{c.backend} {c.excluded}" for c in found.excluded)
