"""The routing decision, pure: a task and the view of the world in, the event to append out."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from operator import attrgetter
from typing import Final, NamedTuple, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from callboard.actors.router.alike import by_queue
from callboard.actors.router.asking import TAGS, AgentRules
from callboard.actors.router.cascade import CascadeRules, best_declined, check_of, completed_with, refusal
from callboard.actors.router.features import features
from callboard.actors.router.fleet import Fleet, fleet_of
from callboard.actors.router.market import Market
from callboard.actors.router.options import (
    Option,
    Surroundings,
    Survey,
    candidates,
    required,
    survey,
)
from callboard.actors.router.policies.agent import Agent
from callboard.actors.router.policies.cascade import Cascade
from callboard.actors.router.policies.policy import Paced, Policy
from callboard.actors.router.standing import not_now
from callboard.actors.router.twins import ALONE, Crowd, Shares, chances, draw
from callboard.actors.strict_json import did_you_mean
from callboard.events.backend import Backend, Breaker
from callboard.events.private import forgotten_reason, is_forgotten
from callboard.events.task import Assigned, Completed, DeadLettered, Expired, Parked, Rejected, Status, Task
from callboard.events.task_spec import Decision
from callboard.projections.bill import PPM
from callboard.projections.learning import Learning, expectations
from callboard.projections.load import BackendLoad, Work
from callboard.projections.pace import Situation
from callboard.projections.prefixes import Prefixes, held

Verdict: TypeAlias = Assigned | Parked | Rejected | DeadLettered | Expired | Completed

RETRY_S: Final = 0.5
RETRY_MAX_S: Final = 30.0


class View(Struct, frozen=True, dict=True):
    """What the router knows. ``seen`` is the log sequence it stands at.

    Its own newest assignments are not in ``loads`` yet: ``extra`` is their work by backend, that is, all tasks, and the
    tokens and service of those that go before the task in question.

    ``routers`` is how many decide at the moment, on views like this one. ``unaffordable`` are backends that there is no
    money for, and why.
    """

    backends: Mapping[str, Backend]
    loads: Mapping[str, BackendLoad]
    extra: Mapping[str, Work]
    seen: int
    learning: Learning = Learning()
    prefixes: Prefixes = Prefixes()
    routers: int = 1
    unaffordable: Mapping[str, str] = {}

    @cached_property
    def fleet(self) -> Fleet:
        """The backends in their order."""
        return fleet_of(self.backends)

    def has_room(self, name: str, now: datetime) -> bool:
        """Whether a backend could be given a task."""
        backend, load, extra = self.backends.get(name), self.loads.get(name, _IDLE), self.extra.get(name, _NOTHING)
        return backend is not None and not_now(backend, load, len(load.outstanding) + extra.tasks, now) is None


_IDLE: Final = BackendLoad()
_NOTHING: Final = Work()


class Rules(Struct, frozen=True):
    """How the router is set up: policies by name, which one by default, and when to give up.

    ``explore`` is the part of the tasks, in parts per million, that may go to any backend that can do them.
    """

    policies: Mapping[str, Policy]
    default: str = "adaptive"
    max_attempts: int = 5
    explore: int = 0
    cascade: CascadeRules = CascadeRules()
    agent: AgentRules = AgentRules()


class Look(NamedTuple):
    """What a task looks like, and every backend looked at for it."""

    features: bytes
    survey: Survey


class Weighed(Struct, frozen=True):
    """A task that can be placed: its ``options``, of all that was ``found``, and by what is drawn among them."""

    task: Task
    found: Survey
    options: tuple[Option, ...]
    policy: Policy
    shares: Shares
    crowd: Crowd
    crowded: bool
    seen: int
    looks: bytes
    prefix: bytes
    check: str
    pace: int
    money: int
    solved: bool

    @property
    def look(self) -> Look:
        """What it was weighed by."""
        return Look(self.looks, self.found)

    def chances(self) -> dict[str, int]:
        """How probable each of the options is to be drawn, by its backend, in parts per million."""
        return chances(self.options, self.shares, self.crowd)

    def drawn(self, seed: int) -> Assigned:
        """The assignment that this seed draws."""
        spec, found, policy = self.task.spec, self.found, self.policy
        assert spec is not None
        winner, propensity = draw(self.options, self.shares, seed, self.crowd)
        reason = "by capacity, since all are busy" if self.crowded else policy.reason(winner)
        decision = Decision(
            policy=policy.name,
            reason="the only one that can" if len(found.options) == 1 else reason,
            seen=self.seen,
            candidates=candidates(found.options, found.excluded),
            seed=seed,
            propensity=propensity,
            features=self.looks if TAGS.isdisjoint(spec.tags) else b"",
            input=found.input,
            pace=self.pace,
            money=self.money,
            solved=self.solved,
            prefix=self.prefix,
            output=spec.max_tokens or 0,
        )
        return Assigned(
            backend=winner.backend,
            attempt=self.task.attempt + 1,
            tokens=winner.tokens,
            decision=decision,
            priority=spec.priority,
            cached=winner.cached,
            service=winner.service,
            check=self.check,
        )


def route(task: Task, view: View, rules: Rules, now: datetime, seed: int, prefix: bytes = b"") -> Verdict:
    """What is to be done with a task that waits, whose prompt begins with ``prefix``.

    The same arguments give the same verdict.
    """
    found = weighed(task, view, rules, now, prefix)
    return found.drawn(seed) if isinstance(found, Weighed) else found


def weighed(
    task: Task, view: View, rules: Rules, now: datetime, prefix: bytes = b"", look: Look | None = None
) -> Weighed | Verdict:
    """The same up to the draw; the verdict, where there is nothing to draw.

    ``look`` is the one at this view, if that is known already.
    """
    spec = task.spec
    assert spec is not None
    if spec.deadline is not None and spec.deadline <= now:
        return Expired(spec.deadline)
    if is_forgotten(spec.input):
        return DeadLettered(forgotten_reason(spec.input.private))
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
    if look is None:
        looks = features(spec)
        look = Look(looks, surveyed(task, view, looks, prefix, now))
    looks, found = look
    if pause := _pause(task, found, view, now):
        return pause
    if not found.options:
        return _no_option(task, found, view)
    check = check_of(spec, rules.cascade) if isinstance(policy, Cascade) else ""
    return _weigh(task, found, view, policy, rules.explore, check, looks, prefix)


def explored(shares: Sequence[int], explore: int) -> Sequence[int]:
    """The shares when each option has an equal one of the part ``explore``, in parts per million."""
    if not explore or len(shares) == 1:
        return shares
    total, equal = sum(shares), max(explore // len(shares), 1)
    return [equal + share * (PPM - explore) // total for share in shares]


def surveyed(task: Task, view: View, looks: bytes, prefix: bytes, now: datetime) -> Survey:
    """Every backend looked at for a task of these features, whose prompt begins with ``prefix``."""
    expected = expectations(view.learning, looks, view.fleet.priors)
    cached = held(view.prefixes, prefix) if prefix else {}
    judged = view.learning.quality.judged > 0
    around = Surroundings(view.fleet, view.loads, view.extra, expected, view.prefixes.caches, cached, judged)
    found = survey(task, around, now).without(view.unaffordable)
    return replace(found, options=by_queue(found.options, view.backends)) if view.fleet.shared else found


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
    told = failure.kind if task.spec and task.spec.private else failure.message
    pause = min(RETRY_S * 2 ** max(task.tries - 1, 0), RETRY_MAX_S)
    return Parked(f"trying {task.backend} again: {told}", now + timedelta(seconds=pause))


def _weigh(
    task: Task, found: Survey, view: View, policy: Policy, explore: int, check: str, looks: bytes, prefix: bytes
) -> Weighed:
    spec = task.spec
    assert spec is not None
    fresh = tuple(option for option in found.options if not option.failed) if task.failure else ()
    options, crowded = _spread(task, fresh or found.options)
    size = found.input, spec.max_tokens or 0
    pace, money, solved = _money(policy, view, options, looks, size)

    def shares(among: Sequence[Option]) -> Sequence[int]:
        if crowded:
            return [option.capacity for option in among]
        return explored(policy.shares(spec, among, money / PPM), explore)

    # work that is spread by capacity does not rush anywhere
    crowd = ALONE if crowded else Crowd(view.backends, view.routers)
    return Weighed(
        task, found, options, policy, shares, crowd, crowded, view.seen, looks, prefix, check, pace, money, solved
    )


def _money(
    policy: Policy, view: View, options: Sequence[Option], looks: bytes, size: tuple[int, int]
) -> tuple[int, int, bool]:
    """The policy's pace, what a micro-dollar counts for so that it is kept, and whether that was worked out anew."""
    if not isinstance(policy, Paced) or not policy.pace:
        return 0, PPM, False
    pace = view.learning.pace
    if not pace.is_due:
        return policy.pace, pace.money, False
    able, latencies, spreads = (tuple(map(attrgetter(each), options)) for each in ("backend", "latency", "spread"))
    newest = Situation.of(looks, *size, able, latencies)
    market = Market(view.fleet, view.learning, newest, dict(zip(able, spreads, strict=True)))
    return policy.pace, policy.money(market), True


def _spread(task: Task, options: tuple[Option, ...]) -> tuple[tuple[Option, ...], bool]:
    """Among whom a task is placed, and whether by capacity alone rather than by policy.

    One that is new gets no more than it can begin, as long as there are others. And what one backend did not do is not
    all left to the second best: a task that was placed before goes to one that can begin at once, whichever the policy
    likes best of those; while none can, to each in proportion to its capacity.
    """
    options = tuple(option for option in options if not option.full) or options
    if not task.attempt or task.declined:
        return options, False
    roomy = tuple(option for option in options if option.room > 0)
    return roomy or options, not roomy and len(options) > 1


def _no_option(task: Task, found: Survey, view: View) -> Verdict:
    if not view.backends:
        return Parked("no backend is registered")
    if found.later:
        waits = [f"{name} {reason}" for name, reason in found.excluded.items() if name in found.later]
        return Parked("; ".join(waits), found.until, waits=tuple(sorted(found.later)))
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
    return "; ".join(f"{name} {reason}" for name, reason in found.excluded.items())
