"""The benchmark of what-ifs runs on small files, and prints one JSON document."""

import json
import subprocess
import sys
from pathlib import Path

COMMAND = Path(__file__).parents[1] / "benchmarks" / "bench_what_if.py"
MODELS = {"meta-llama/llama-3.1-8b-instruct": 1e-5, "google/gemini-2.5-pro": 1e-3}


def test_small_files(tmp_path):
    """Every decision comes out identical, and of each figure it is said how often the truth is within the interval."""
    folder = tmp_path / "paretobandit"
    folder.mkdir()
    for name in ("val", "test"):
        lines = [
            {
                "prompt": f"what is {number} plus {number}",
                "arms": {
                    model: {"reward": (number + place) % 3 / 2, "cost": cost * (1 + number % 5)}
                    for place, (model, cost) in enumerate(MODELS.items())
                },
            }
            for number in range(40)
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    given = ("--data", tmp_path, "--only", "paretobandit", "--seeds", "1", "--tasks", "60", "--processes", "1")
    ended = subprocess.run([sys.executable, COMMAND, *given], capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["identical when replayed"] == 1
    assert (found["logs"], found["what-ifs"]) == (10, 90)
    assert found["intervals"].keys() == {"quality", "cost", "latency"}
    assert found["intervals"]["cost"]["all"]["answered"] > 0.1
