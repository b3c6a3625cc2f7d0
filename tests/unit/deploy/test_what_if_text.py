"""What a what-if asks, as it is written on the command line."""

import pytest

from callboard.actors.replay.changes import Changes
from callboard.deploy.cli.what_if_text import changes
from callboard.events.errors import InvalidInput
from callboard.events.money import Price


def test_several_changes_together():
    """By commas."""
    together = changes("policy=adaptive,pace=0.002,without=a, without=b,prices=c=0.25/2,budget=team:1.50usd")
    assert together == Changes(
        policy="adaptive",
        pace=2000,
        without=frozenset({"a", "b"}),
        prices={"c": Price(250_000, 2_000_000)},
        budgets={"team": 1_500_000},
    )


def test_prices():
    """With a price for cached tokens, or from a file."""
    assert changes("prices=c=1/2/0.1").prices == {"c": Price(1_000_000, 2_000_000, 100_000)}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.toml", "[c]\ninput = 1\noutput = 2.5\n[d]\ninput = 0\noutput = 0\ncached = 0\n"),
        ("p.json", '{"c": {"input": 1, "output": 2.5}, "d": {"input": 0, "output": 0, "cached": 0}}'),
    ],
)
def test_a_file_of_prices(tmp_path, name, text):
    """A table for each backend."""
    (tmp_path / name).write_text(text)
    assert changes(f"prices={tmp_path / name}").prices == {"c": Price(1_000_000, 2_500_000), "d": Price(0, 0, 0)}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("", "nothing is changed; use policy=cheapest"),
        ("polcy=best", "unknown 'polcy'; did you mean 'policy'"),
        ("policy", "a value is missing, as in policy=cheapest"),
        ("policy=a,policy=b", "there can be only one"),
        ("pace=much", "'much' is not an amount in USD"),
        ("pace=-1", "must be a number >= 0"),
        ("budget=team", "write NAME:LIMIT"),
        ("budget=team:x", "'x' is not an amount"),
        ("prices=c=1", "write NAME=IN/OUT"),
        ("prices=c=1/x", "'x' is not an amount"),
        ("prices=nowhere.toml", "no such file, nor a price"),
    ],
)
def test_what_is_wrong(given, told):
    """One line says what, and how to write it."""
    with pytest.raises(InvalidInput, match=told) as error:
        changes(given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [("= 1", "can't be read"), ("", "no backend is in it"), ("[c]\ninput = 1", "needs input and output")],
)
def test_a_wrong_file(tmp_path, text, told):
    """It is named."""
    path = tmp_path / "p.toml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=told):
        changes(f"prices={path}")
