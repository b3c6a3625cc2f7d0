"""The routing decision, pure: a task and the view of the world in, the event to append out."""

import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from msgspec import Struct

from callboard.actors.router.asking import TAGS, AgentRules
from callboard.actors.router.cascade import CascadeRules, best_declined, check_of, completed_with, refusal
from callboard.actors.router.features import features
from callboard.actors.router.options import TIER_QUALITY, Option, Survey, prompt_tokens, required, survey
from callboard.actors.router.policies.agent import Agent
from callboard.actors.router.policies.cascade import Cascade
from callboard.actors.router.policies.policy import Paced, Policy
from callboard.actors.router.shadow_price import Market
from callboard.actors.strict_json import did_you_mean
from callboard.events.backend import Backend
from callboard.events.task import Assigned, Completed, DeadLettered, Expired, Parked, Rejected, Status, Task
from callboard.events.task_spec import Decision
from callboard.projections.bill import PPM
from callboard.projections.learning import Learning, expectations
from callboard.projections.load import BackendLoad
from callboard.projections.pace import Situation

Verdict: TypeAlias = Assigned | Parked | Rejected | DeadLettered | Expired | Completed

RETRY_S: Final = 0.5
RETRY_MAX_S: Final = 30.0


class View(Struct, frozen=True):
    """What the router knows. ``seen`` is the log sequence it stands at; ``extra`` its own newest assignments.

    ``unaffordable`` are backends that there is no money for, and why.
    """

    backends: Mapping[str, Backend]
    loads: Mapping[str, BackendLoad]
    extra: Mapping[str, int]
    seen: int
    learning: Learning = Learning()
    unaffordable: Mapping[str, str] = {}


class Rules(Struct, frozen=True):
    """How the router is set up: policies by name, which one by default, and when to give up."""

    policies: Mapping[str, Policy]
    default: str = "adaptive"
    max_attempts: int = 5
    cascade: CascadeRules = CascadeRules()
    agent: AgentRules = AgentRules()


def route(task: Task, view: View, rules: Rules, now: datetime, seed: int) -> Verdict:
    """What is to be done with a task that waits. The same arguments give the same verdict."""
    spec = task.spec
    assert spec is not None
    if spec.deadline is not None and spec.deadline <= now:
        return Expired(spec.deadline)
    if task.tries >= rules.max_attempts or len(task.declined) > rules.cascade.escalations:
        if best := best_declined(task):
            return completed_with(best[0])
        last = task.failure.message if task.failure else "no reason known"
        return DeadLettered(f"gave up after {task.tries} tries; the last one: {last}")
    if spec.not_before is not None and spec.not_before > now:
        return Parked("not before its time", spec.not_before)
    policy = rules.policies.get(spec.policy or rules.default)
    if policy is None:
        known = ", ".join(sorted(rules.policies))
        hint = did_you_mean(spec.policy or rules.default, rules.policies)
        return Rejected(f"unknown policy {spec.policy or rules.default!r}{hint}; known: {known}")
    if refused := refusal(spec, rules.cascade, cascades=isinstance(policy, Cascade)):
        return Rejected(refused)
    if isinstance(policy, Agent):
        policy = policy.advised(task.advice)
    looks, length = features(spec), prompt_tokens(spec)
    priors = {name: TIER_QUALITY[backend.spec.tier] for name, backend in view.backends.items() if backend.spec}
    expected = expectations(view.learning, looks, priors)
    found = survey(task, view.backends, view.loads, view.extra, expected, length, now).without(view.unaffordable)
    if not found.options:
        return _no_option(task, found, view)
    fresh = tuple(option for option in found.options if not option.failed)
    if not fresh and task.status is Status.FAILED and task.failure and task.failure.kind != "rate_limited":
        pause = min(RETRY_S * 2 ** max(task.tries - 1, 0), RETRY_MAX_S)
        return Parked(f"trying {task.backend} again: {task.failure.message}", now + timedelta(seconds=pause))
    options = fresh or found.options
    spreads = {name: each.spread for name, each in expected.items()}
    market = Market(view.backends, priors, view.learning, _situation(looks, length, options), spreads)
    check = check_of(spec, rules.cascade) if isinstance(policy, Cascade) else ""
    return _assign(task, found, options, market, policy, check, view.seen, seed)


def _assign(
    task: Task,
    found: Survey,
    options: Sequence[Option],
    market: Market,
    policy: Policy,
    check: str,
    seen: int,
    seed: int,
) -> Assigned:
    assert task.spec is not None
    pace, money, solved = 0, PPM, False
    if isinstance(policy, Paced) and policy.pace:
        pace, money = policy.pace, market.learning.pace.money
        if solved := market.learning.pace.is_due:
            money = policy.money(market)
    shares = policy.shares(task.spec, options, money / PPM)
    winner, share = _draw(options, shares, seed)
    decision = Decision(
        policy=policy.name,
        reason="the only one that can" if len(found.options) == 1 else policy.reason(winner),
        seen=seen,
        candidates=(*(option.candidate for option in found.options), *found.excluded),
        seed=seed,
        propensity=PPM * share // sum(shares),
        features=market.newest.features if TAGS.isdisjoint(task.spec.tags) else b"",
        input=market.newest.input,
        pace=pace,
        money=money,
        solved=solved,
    )
    return Assigned(winner.backend, task.attempt + 1, winner.tokens, decision, task.spec.priority, check=check)


def _draw(options: Sequence[Option], shares: Sequence[int], seed: int) -> tuple[Option, int]:
    """One of the options, each as often as its share says; and that share."""
    likely = [(option, share) for option, share in zip(options, shares, strict=True) if share > 0]
    if len(likely) == 1:
        return likely[0]
    return random.Random(seed).choices(likely, [share for _, share in likely])[0]


def _situation(looks: bytes, length: int, options: Sequence[Option]) -> Situation:
    return Situation(
        looks, length, tuple(option.backend for option in options), tuple(option.latency for option in options)
    )


def _no_option(task: Task, found: Survey, view: View) -> Verdict:
    if not view.backends:
        return Parked("no backend is registered")
    if found.later:
        waits = [f"{c.backend} {c.excluded}" for c in found.excluded if c.backend in found.later]
        return Parked("; ".join(waits), found.until)
    if best := best_declined(task):
        return completed_with(best[0])
    reason = f"no backend can do this: {_why_none(task, found, view)}"
    return DeadLettered(reason) if task.tries else Rejected(reason)


def _why_none(task: Task, found: Survey, view: View) -> str:
    assert task.spec is not None
    offered = {capability for b in view.backends.values() if b.spec for capability in b.spec.capabilities}
    told = f"offered: {', '.join(sorted(offered))}"
    for capability in task.spec.needs.capabilities:
        if capability not in offered:
            return f"unknown capability {capability!r}{did_you_mean(capability, offered)} ({told})"
    for capability in required(task.spec):
        if capability not in offered:
            return (
                f"the task has {capability}, and none offers that ({told}): add it to the capabilities of one that does"
            )
    if task.spec.backend is not None and task.spec.backend not in view.backends:
        return f"unknown backend {task.spec.backend!r} (registered: {', '.join(sorted(view.backends))})"
    return "; ".join(f"{c.backend} {c.excluded}" for c in found.excluded)
