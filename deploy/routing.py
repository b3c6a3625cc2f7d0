"""The router's rules and the checks of answers, as they are set."""

from collections.abc import Mapping
from typing import cast

from callboard.actors.checks import BUILT_IN, JUDGE, Check, CheckFunction
from callboard.actors.router.asking import AgentRules
from callboard.actors.router.cascade import CascadeRules
from callboard.actors.router.policies.registry import policies
from callboard.actors.router.route import Rules
from callboard.deploy import settings
from callboard.events.errors import InvalidInput

NS = 1_000_000_000


def checks_of(configured: settings.Settings) -> dict[str, Check]:
    """Every check by its name. Raises InvalidInput when a function can't be found."""
    from callboard.actors.backend.providers.callable import load  # noqa: PLC0415  only who runs functions loads them

    checks = dict(BUILT_IN)
    for name, check in configured.checks.items():
        try:
            function = cast("CheckFunction", load(check.function)) if check.function else None
        except InvalidInput as error:
            raise InvalidInput(f"check {name}: {error}") from error
        checks[name] = Check(check.accept, function)
    return checks


def unloaded(configured: settings.Settings) -> dict[str, Check]:
    """Every check by its name, for whoever verifies nothing: no function of the user's is loaded."""
    return {**BUILT_IN} | {name: Check(check.accept) for name, check in configured.checks.items()}


def rules_of(configured: settings.Settings, checks: Mapping[str, Check]) -> Rules:
    """How the router is set up. Raises InvalidInput when a policy can't be loaded."""
    router, judge = configured.router, configured.checks.get(JUDGE, settings.Check())
    return Rules(
        policies(
            router.latency_price_micros_per_s,
            router.quality_price_micros_per_percent,
            router.pace_micros_per_task,
            router.agent.fallback,
        ),
        router.policy,
        router.max_attempts,
        router.explore_percent * 10_000,
        cascade=CascadeRules(
            checks, router.cascade.check, router.cascade.escalations, judge.backend or None, judge.timeout_ns / NS
        ),
        agent=AgentRules(router.agent.backend or None, router.agent.timeout_ns / NS),
    )
