"""Names of agents and the ids that they have in the log."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.events.agent_names import LONGEST, checked_definition, definition_of, id_of, name_of
from callboard.events.errors import InvalidId
from callboard.events.ids import checked_id

DEFINITIONS = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9_]|-(?!-)){0,20}(?<!-)", fullmatch=True)
INSTANCES = st.text("abcXYZ019_-", min_size=1, max_size=20)


@given(DEFINITIONS, INSTANCES)
def test_a_name_and_its_id_are_the_same_agent(definition, instance):
    """There and back again; what is an id stays one, and tells its definition."""
    name = f"{definition}/{instance}"
    agent_id = id_of(name)
    assert checked_id(agent_id) == agent_id
    assert id_of(agent_id) == agent_id
    assert name_of(agent_id) == name
    assert definition_of(agent_id) == definition == checked_definition(definition)


@given(DEFINITIONS, DEFINITIONS, INSTANCES, INSTANCES)
def test_two_names_are_two_agents(one, other, instance, another):
    """No two names have the same id."""
    names = {one, other, f"{one}/{instance}", f"{one}/{another}", f"{other}/{instance}"}
    assert len({id_of(name) for name in names}) == len(names)


def test_an_agent_without_an_instance_is_called_as_its_definition():
    """``writer`` is an agent as well."""
    assert id_of("writer") == "writer" == name_of("writer") == definition_of("writer")


@pytest.mark.parametrize("wrong", ["", "-a", "_a", "a-", "a--b", "a b", "a.b", "a/b", "ä", "a\n", "a" * (LONGEST + 1)])
def test_what_is_no_name_for_a_definition(wrong):
    """The error says what is."""
    with pytest.raises(InvalidId, match=r"is no name for a definition: begin with a letter or digit"):
        checked_definition(wrong)


@pytest.mark.parametrize("wrong", ["a/", "a--", "a/b/c", "a/b.c", "a/b c", "a/ä", "a/b\n", "a/*"])
def test_what_is_no_name_for_an_instance(wrong):
    """A name with an end that says nothing is none, nor one that would break a subject."""
    with pytest.raises(InvalidId, match="an instance is named by"):
        id_of(wrong)


def test_a_name_that_is_too_long_is_refused():
    """It would be no subject token."""
    assert len(id_of("a/" + "b" * (LONGEST - 3))) == LONGEST
    with pytest.raises(InvalidId, match="is too long: at most 64 characters"):
        id_of("a/" + "b" * (LONGEST - 2))
