"""The routing decision, pure: a task and the view of the world in, the event to append out."""

import difflib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from msgspec import Struct

from callboard.actors.router.features import features
from callboard.actors.router.options import TIER_QUALITY, Surroundings, Survey, required, survey
from callboard.actors.router.policies.policy import Policy
from callboard.actors.router.twins import Crowd, draw
from callboard.events.backend import Backend
from callboard.events.task import Assigned, DeadLettered, Expired, Parked, Rejected, Status, Task
from callboard.events.task_spec import Decision
from callboard.projections.load import BackendLoad, Work
from callboard.projections.prefixes import Prefixes, held
from callboard.projections.quality import Quality, estimates

Verdict: TypeAlias = Assigned | Parked | Rejected | DeadLettered | Expired

RETRY_S: Final = 0.5
RETRY_MAX_S: Final = 30.0


class View(Struct, frozen=True):
    """What the router knows. ``seen`` is the log sequence it stands at; ``extra`` its own newest assignments.

    ``money`` is what a micro-dollar counts for: more than 1 when spending runs ahead of its pace. ``routers`` is how
    many decide at the moment, on views like this one.
    """

    backends: Mapping[str, Backend]
    loads: Mapping[str, BackendLoad]
    extra: Mapping[str, Work]
    seen: int
    quality: Quality = Quality()
    money: float = 1.0
    prefixes: Prefixes = Prefixes()
    routers: int = 1


class Rules(Struct, frozen=True):
    """How the router is set up: policies by name, which one by default, and when to give up."""

    policies: Mapping[str, Policy]
    default: str = "balanced"
    max_attempts: int = 5


def route(task: Task, view: View, rules: Rules, now: datetime, seed: int, prefix: bytes = b"") -> Verdict:
    """What is to be done with a task that waits, whose prompt begins with ``prefix``.

    The same arguments give the same verdict.
    """
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
    priors = {name: TIER_QUALITY[backend.spec.tier] for name, backend in view.backends.items() if backend.spec}
    qualities = estimates(view.quality, looks, priors)
    cached = held(view.prefixes, prefix) if prefix else {}
    around = Surroundings(view.loads, view.extra, qualities, view.prefixes.caches, cached)
    found = survey(task, view.backends, around, now)
    if not found.options:
        return _no_option(task, found, view)
    return _choose(task, found, view, policy, looks, prefix, now, seed)


def _choose(
    task: Task, found: Survey, view: View, policy: Policy, looks: bytes, prefix: bytes, now: datetime, seed: int
) -> Verdict:
    fresh = tuple(option for option in found.options if not option.failed)
    if not fresh and task.status is Status.FAILED and task.failure and task.failure.kind != "rate_limited":
        pause = min(RETRY_S * 2 ** max(task.tries - 1, 0), RETRY_MAX_S)
        return Parked(f"trying {task.backend} again: {task.failure.message}", now + timedelta(seconds=pause))
    options = fresh or found.options
    assert task.spec is not None
    winner, propensity = draw(task.spec, options, policy, Crowd(view.backends, view.routers, view.money), seed)
    decision = Decision(
        policy=policy.name,
        reason="the only one that can" if len(found.options) == 1 else policy.reason(winner),
        seen=view.seen,
        candidates=(*(option.candidate for option in found.options), *found.excluded),
        seed=seed,
        propensity=propensity,
        features=looks,
        prefix=prefix,
    )
    attempt = task.attempt + 1
    return Assigned(winner.backend, attempt, winner.tokens, decision, task.spec.priority, winner.cached, winner.service)


def _no_option(task: Task, found: Survey, view: View) -> Verdict:
    if not view.backends:
        return Parked("no backend is registered")
    if found.later:
        waits = [f"{c.backend} {c.excluded}" for c in found.excluded if c.backend in found.later]
        return Parked("; ".join(waits), found.until)
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
