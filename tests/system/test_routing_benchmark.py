"""The routing benchmark runs on small files, and prints one JSON document with every figure it promises."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(__file__).parents[1] / "benchmarks" / "routing" / "bench_routing.py"
CHEAP, MIDDLE, DEAR = "meta-llama/llama-3.1-8b-instruct", "mistralai/mistral-large-2512", "google/gemini-2.5-pro"
COSTS = {CHEAP: 1e-5, MIDDLE: 1e-4, DEAR: 1e-3}


def run(*arguments: object, code: int = 0) -> subprocess.CompletedProcess:
    found = subprocess.run(
        [sys.executable, COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert found.returncode == code, found.stderr
    return found


def written(path: Path, models: tuple[str, ...], prompts: int = 30) -> Path:
    """Sums, which the cheapest gets wrong, and greetings, which all get right."""
    lines = []
    for number in range(prompts):
        is_sum = number % 2 == 0
        arms = {model: {"reward": 1.0 - (is_sum and model == models[0]), "cost": COSTS[model]} for model in models}
        text = f"what is {number} plus {number}" if is_sum else f"please greet guest number {number}"
        lines.append(json.dumps({"prompt": text, "arms": arms}))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))
    return path


def test_any_two_files(tmp_path):
    """Figures over seeds at each budget, beside the best mix of models at what was really spent."""
    learn, measure = (written(tmp_path / name, (CHEAP, DEAR)) for name in ("a.jsonl", "b.jsonl"))
    found = json.loads(run("--learn", learn, "--measure", measure, "--budgets", "5e-4,2e-3", "--seeds", 2).stdout)
    assert {"benchmark", "date", "machine", "notes", "missed", "stationary", "decision"} <= found.keys()
    assert found["prompts"] == {"learned": 30, "measured": 30}
    at_budget = found["stationary"]["$0.0005"]
    assert at_budget.keys() >= {"reward", "cost/target", f"share {DEAR}", "reward above that mix", "clairvoyant"}
    assert at_budget["reward"].keys() == {"mean", "ci95", "min", "max"}
    assert at_budget["verdicts"].keys() == {"not_below_mix", "within_budget"}
    cost = at_budget["cost/target"]["mean"] * 5e-4
    line = 0.5 + 0.5 * (cost - COSTS[CHEAP]) / (COSTS[DEAR] - COSTS[CHEAP])
    assert at_budget["best mix at the same cost"] == pytest.approx(line, abs=1e-4)
    assert found["stationary"]["$0.002"]["clairvoyant"] == 1.0


def test_every_part(tmp_path):
    """All scenarios with their verdicts, and the ranking of prompts."""
    for name in ("val", "test"):
        written(tmp_path / "paretobandit" / f"{name}.jsonl", tuple(COSTS))
    for name in ("mmlu", "gsm8k"):
        folder = tmp_path / "routellm" / name
        folder.mkdir(parents=True)
        (folder / "contaminated_prompts.jsonl").write_text(json.dumps({"eval_prompt": "seen 0"}) + "\n")
        with (folder / "answers.csv").open("w") as file:
            rows = csv.writer(file)
            rows.writerow(["prompt", "mistralai/Mixtral-8x7B-Instruct-v0.1", "gpt-4-1106-preview"])
            rows.writerows([f"seen {number}", number % 2 == 0, number % 4 < 3] for number in range(21))
    found = json.loads(run("--data", tmp_path, "--seeds", 1, "--streams", 2).stdout)
    assert [*found["stationary"]] == ["$8.3e-05", "$0.00023", "$0.00066", "$0.0019"]
    assert found["stationary"]["$0.00023"]["published"]["reward"] == 0.85884
    assert "above_published" in found["stationary"]["$0.00023"]["verdicts"]
    for part, case, verdicts in (
        ("drift", "price falls and rises", {"on_target_1", "on_target_3"}),
        ("regression", "mean 0.5", {"left_within_150"}),
        ("newcomer", "good", {"in_use_within_120"}),
        ("newcomer", "bad", {"rejected"}),
    ):
        assert [*found[part][case]] == ["$0.0003", "$0.00066", "$0.0019"]
        assert all(budget["verdicts"].keys() == verdicts for budget in found[part][case].values())
    assert found["mmlu"]["prompts"] == found["gsm8k"]["prompts"] == 20
    assert 0 < found["mmlu"]["APGR"]["mean"] < 1
    assert [*found["gsm8k"]["budgets"]] == [f"{tenth}0%" for tenth in range(1, 10)]


def test_what_is_wrong_is_told(tmp_path):
    """An unknown part, and a file that is not of the form."""
    assert "known: stationary, drift" in run("--data", tmp_path, "--only", "speed", code=2).stderr
    (tmp_path / "a.jsonl").write_text('{"prompt": "x"}\n')
    told = run("--learn", tmp_path / "a.jsonl", "--measure", tmp_path / "a.jsonl", "--budgets", "1", code=1).stderr
    assert "a.jsonl:1: not {prompt, arms: {model: {reward, cost}}}: KeyError('arms')" in told
