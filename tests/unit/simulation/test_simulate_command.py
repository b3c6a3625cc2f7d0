"""`callboard simulate`, as it is typed."""

import json
import re
from importlib.util import find_spec

import pytest
from click.testing import CliRunner

from callboard.actors.router.route import Rules
from callboard.actors.simulation.rules import SIMPLE
from callboard.deploy import plots
from callboard.deploy.cli.group import callboard
from callboard.deploy.cli.simulate import DEFAULT

NAMES = ["adaptive", "least-requests"]


@pytest.fixture
def trace(tmp_path):
    """Forty tasks of four conversations, two a second."""
    lines = [
        json.dumps({"at": n / 2, "input": 2048, "output": 100, "blocks": [n % 4 * 10 + k for k in range(4)]})
        for n in range(40)
    ]
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join(lines))
    return path


def called(*arguments: object, code: int = 0):
    done = CliRunner().invoke(callboard, ["simulate", *map(str, arguments)])
    assert done.exit_code == code, done.output
    return done


def policies_of(*names: str) -> list[str]:
    return [argument for name in names for argument in ("--policy", name)]


def test_by_default_the_policy_of_a_node_is_compared():
    """With every simple rule."""
    assert DEFAULT[0] == Rules({}).default
    assert set(DEFAULT[1:]) == set(SIMPLE)


def test_json_tells_all_that_was_measured(trace):
    """One line for programs; the same seed gives the same, but for how long it took."""
    arguments = (trace, "--json", "--tasks", 60, "--backends", 3, "--routers", 2, "--seed", 7, *policies_of(*NAMES))
    one, other = (json.loads(called(*arguments).stdout) for _ in range(2))
    assert (one["trace"], one["tasks"], one["backends"], one["view_delay"]) == ("trace.jsonl", 60, 3, 5_000_000)
    assert [result["policy"] for result in one["results"]] == NAMES
    for result in [*one["results"], *other["results"]]:
        assert result.pop("speed")["tasks_per_s"] > 0
        assert result["ended"] == {"completed": 60}
        assert result["queue"]["p50"] <= result["first_token"]["p50"] < result["completion"]["p50"]
        assert 0 <= result["hits"] <= result["attainable"] <= 1
    assert one == other


def test_the_table_sets_policies_side_by_side(trace):
    """A heading that says what was simulated, and a line each."""
    told = called(trace, "--load", 50, "--backends", 1, *policies_of("fastest")).stdout
    assert told.startswith("trace.jsonl, 40 tasks at ")
    assert "fastest" in told
    assert " 1 backends" in told
    assert "of 90.0%" in called(trace, *policies_of("fastest")).stdout


def test_a_fleet_from_a_file(trace, tmp_path):
    """What never answers is told under the table."""
    (tmp_path / "f.toml").write_text("[backends.a]\nwindows = [{ from_s = 0, to_s = 1_000_000, fails = true }]\n")
    told = called(trace, "--backends", tmp_path / "f.toml", *policies_of("fastest")).stdout
    assert "fastest: 40 dead of 40 tasks" in told


def test_replicas_that_follow_the_load(trace, tmp_path):
    """How often they were scaled, and what they come to, is told under the table."""
    scaling = "scaling = { min = 0, max = 4, target_wait_s = 0.1, cool_up_s = 0.5 }"
    (tmp_path / "f.toml").write_text(f"[backends.a]\nconcurrency = 1\n{scaling}\n")
    told = called(trace, "--backends", tmp_path / "f.toml", *policies_of("fastest")).stdout
    assert re.search(r"fastest: [1-9]\d* scalings, 0\.\d\d replica-hours", told)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--policy", "bset"], 1, "callboard: unknown policy 'bset'; known: "),
        (["--backends", "0"], 2, "at least 1 backend is needed"),
        (["--backends", "nothing.toml"], 1, "callboard: nothing.toml: No such file"),
        (["--speed", "2", "--load", "50"], 2, "both say how often tasks come"),
        (["--speed", "0"], 2, "--speed must be over 0"),
        (["--view-delay", "soon", "--routers", "2"], 1, "callboard: --view-delay "),
    ],
)
def test_what_is_wrong_is_told_in_one_line(trace, arguments, code, told):
    """And the exit code is 1 or 2."""
    assert told in called(trace, *arguments, code=code).stderr


def test_without_matplotlib_the_error_says_how_to_get_it(trace, tmp_path, monkeypatch):
    """Before anything is simulated."""
    monkeypatch.setattr(plots, "find_spec", lambda _: None)
    told = called(trace, "--plot", tmp_path / "p.png", code=1).stderr
    assert told == f"callboard: drawing needs matplotlib: {plots.INSTALL}\n"


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="matplotlib is not installed: the extra `plot`")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_picture(trace, tmp_path):
    """A PNG; one that can't be written is told."""
    called(trace, "--plot", tmp_path / "p.png", *policies_of("fastest"))
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    told = called(trace, "--plot", tmp_path / "no" / "p.png", *policies_of("fastest"), code=1).stderr
    assert "can't be drawn" in told
