"""From the settings to what the router and the workers are given."""

import pytest

from callboard.actors.checks import BUILT_IN
from callboard.deploy.routing import checks_of, rules_of
from callboard.deploy.settings import Agent, Cascade, Check, Router, Settings
from callboard.events.errors import InvalidInput


def test_nothing_set_means_the_built_in_checks():
    """A judge and a schema are always there, and both ask the cheapest."""
    checks = checks_of(Settings())
    assert checks == BUILT_IN
    rules = rules_of(Settings(), checks)
    assert (rules.cascade.default, rules.cascade.judge, rules.cascade.judge_timeout_s) == ("judge", None, 30.0)
    assert (rules.agent.backend, rules.agent.timeout_s) == (None, 10.0)
    assert {"agent", "cascade"} <= rules.policies.keys()


def test_every_setting_reaches_its_place():
    """Functions are found, thresholds and names are kept, durations become seconds."""
    settings = Settings(
        router=Router(cascade=Cascade("long", 5), agent=Agent("wise", 2_500_000_000, "best")),
        checks={
            "long": Check("servers.callable_backends:is_long", 900_000),
            "judge": Check(accept=500_000, backend="strict", timeout_ns=4_000_000_000),
        },
    )
    checks = checks_of(settings)
    assert (checks["long"].accept, checks["long"].function("a" * 11)) == (900_000, True)
    assert (checks["judge"].accept, checks["judge"].function) == (500_000, None)
    rules = rules_of(settings, checks)
    assert (rules.cascade.default, rules.cascade.escalations, rules.cascade.judge) == ("long", 5, "strict")
    assert rules.cascade.judge_timeout_s == 4.0
    assert (rules.agent.backend, rules.agent.timeout_s) == ("wise", 2.5)


def test_a_function_that_is_not_there_is_told_with_its_check():
    """The node does not start, and one line says why."""
    with pytest.raises(InvalidInput, match=r"^check mine: callable 'nowhere:f': module nowhere can't be imported"):
        checks_of(Settings(checks={"mine": Check("nowhere:f")}))
