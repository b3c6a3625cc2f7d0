"""The backends in one order, as long as none of them changes."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from callboard.actors.router.fleet import TIER_QUALITY, fleet_of
from callboard.events.backend import Backend, BackendSpec
from callboard.events.persistent import Map

TIERS = st.sampled_from(sorted(TIER_QUALITY))


def backend(name: str, tier: str) -> Backend:
    return Backend(name, BackendSpec("openai", f"model of {name}", tier=tier))


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), TIERS), st.randoms())
def test_the_order_is_that_of_the_names(tiers, dice):
    """Whatever that of the map, which does not survive a restart; so a decision doesn't depend on it."""
    backends = {name: backend(name, tier) for name, tier in tiers.items()}
    shuffled = {name: backends[name] for name in dice.sample(list(backends), len(backends))}
    for found in (fleet_of(shuffled), fleet_of(Map(shuffled)), fleet_of(backends)):
        assert [each.id for each in found.backends] == [*found.priors] == sorted(tiers)
        assert found.priors == {name: TIER_QUALITY[tier] for name, tier in tiers.items()}


def test_it_is_the_very_same_until_a_backend_changes():
    """What was looked up for these names need not be looked up again."""
    backends = Map({"a": backend("a", "small"), "b": backend("b", "medium")})
    first = fleet_of(backends)
    assert fleet_of(backends) is first
    changed = backends.insert("a", replace(backends["a"], draining=True))
    assert fleet_of(changed).backends[0].draining
    assert not fleet_of(backends).backends[0].draining


def test_a_backend_that_has_announced_nothing_is_not_in_it():
    """Its price may be told before it is."""
    assert fleet_of({"a": Backend("a"), "b": backend("b", "small")}).priors == {"b": TIER_QUALITY["small"]}


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.sampled_from("mno")))
def test_it_knows_who_runs_the_same_model(models):
    """By place, and only models that more than one runs."""
    found = fleet_of({name: Backend(name, BackendSpec("openai", model)) for name, model in models.items()})
    assert [*found.places] == sorted(models)
    assert [*found.places.values()] == [*range(len(models))]
    shared = {frozenset(name for name in models if models[name] == model) for model in "mno"}
    names = [*found.places]
    assert {frozenset(names[place] for place in places) for places in found.shared} == {
        several for several in shared if len(several) > 1
    }
