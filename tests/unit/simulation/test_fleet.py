"""Descriptions of simulated backends."""

import pytest

from callboard.actors.simulation.fleet import Dollars, Machine, Window, alike, rate_at, read_fleet
from callboard.events.errors import InvalidInput
from callboard.events.money import Price

FLEET = """
[backends.gpu]
count = 2
model = "llama"
concurrency = 4
price = { input = 0.1, output = 0.4, cached = 0.01 }
windows = [{ from_s = 1, to_s = 2, slower = 3.0 }, { from_s = 5, to_s = 6, fails = true }]

[backends.api]
concurrency = 64
"""


def test_toml_and_json(tmp_path):
    """A table for each kind, so many of it as it says."""
    (tmp_path / "f.toml").write_text(FLEET)
    found = read_fleet(tmp_path / "f.toml")
    assert list(found) == ["gpu-0", "gpu-1", "api"]
    price = Dollars(0.1, 0.4, 0.01)
    trouble = (Window(1, 2, 3.0), Window(5, 6, fails=True))
    assert found["gpu-1"] == Machine("llama", 2, concurrency=4, price=price, windows=trouble)
    assert found["gpu-1"].price.price == Price(100_000, 400_000, 10_000)
    (tmp_path / "f.json").write_text('{"backends": {"api": {"concurrency": 64}}}')
    assert read_fleet(tmp_path / "f.json") == {"api": found["api"]}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("backends = 1", "Expected `object`, got `int` - at `$.backends`"),
        ("[backends", "Expected ']' at the end of a table declaration"),
        ("[backends]", "describes no backends"),
        ("[backends.a]\nslots = 3", "backends.a: Object contains unknown field `slots`"),
        ("[backends.a]\nconcurrency = 0", "backends.a: count, replicas and concurrency must be at least 1"),
        ("[backends.a]\nslowdown = 0.5", "backends.a: slowdown must be at least 1"),
        ("[backends.a]\nwindows = [{ from_s = 2, to_s = 1 }]", "backends.a: a window needs 0 <= from_s < to_s"),
        ("[backends.a]\nscaling = { min = 3, max = 2 }", "backends.a: scaling needs 0 <= min <= max, and times over 0"),
        ('[backends."a b"]\n', "backends.a b: backend 'a b' is not valid"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path, text, told):
    """With the file, the backend and the key."""
    (tmp_path / "f.toml").write_text(text)
    with pytest.raises(InvalidInput) as raised:
        read_fleet(tmp_path / "f.toml")
    assert f"f.toml: {told}" in str(raised.value)
    assert "\n" not in str(raised.value)
    with pytest.raises(InvalidInput, match="No such file"):
        read_fleet(tmp_path / "g.toml")


def test_the_rate_keeps_the_slots_as_busy_as_asked():
    """Ten equal backends take ten times as much as one; the time a task takes counts how busy they are."""
    assert rate_at(alike(10), 0.7, 1000, 200) == pytest.approx(10 * rate_at(alike(1), 0.7, 1000, 200))
    machine = Machine(concurrency=10, slowdown=1.0, prefill_tokens_per_s=1000.0, decode_tokens_per_s=100.0)
    assert rate_at({"a": machine}, 0.5, 1000, 100) == pytest.approx(2.5)
