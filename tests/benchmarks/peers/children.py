"""Runs the runners, each as a process of its own, one at a time; and kills them."""

import itertools
import json
import random
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

HERE: Final = Path(__file__).parent
KILL_AFTER: Final = 200
"""Steps."""

STEPS: Final = 100_000
"""More than there is time for."""

WAIT_S: Final = 60.0
GONE_S: Final = 1.0
"""A server whose parent was killed ends itself within this time."""


class Failed(Exception):
    """A runner did not do what was asked; the message is what it said last."""


class Runner(NamedTuple):
    """One system's: its interpreter, in which environment, and its script."""

    python: Path
    environment: Mapping[str, str]
    script: str

    def command(self, measure: str, folder: Path, *options: str) -> list[str]:
        return [str(self.python), str(HERE / self.script), measure, "--folder", str(folder / "store"), *options]

    def measured(self, measure: str, *options: str) -> dict[str, Any]:
        """What it measures, in a folder that is gone afterwards. Raises Failed."""
        with tempfile.TemporaryDirectory() as folder:
            command = self.command(measure, Path(folder), *options)
            done = subprocess.run(command, cwd=folder, check=False, env=self.environment, capture_output=True)
        if done.returncode:
            raise Failed((done.stderr.decode().strip().splitlines() or [str(done.returncode)])[-1])
        return json.loads(done.stdout)

    def recovered(self, *options: str) -> dict[str, float]:
        """Kill it in the middle, start it again, and see when it goes on, and where. Raises Failed."""
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            ledger = Path(folder) / "ledger"
            ledger.touch()
            more = ("--ledger", str(ledger), "--count", str(STEPS), *options)
            command = self.command("recovery", Path(folder), *more)
            with _Child(command, folder, self.environment) as child:
                child.await_lines(ledger, lambda ran: len(ran) >= KILL_AFTER)
                time.sleep(random.random() * 0.02)
            before = _read(ledger)
            newest = max(number for number, _ in before)
            spawned = time.monotonic()
            with _Child([*command, "--again"], folder, self.environment) as child:
                child.await_lines(ledger, lambda ran: ran[-1][0] > newest)
            after = _read(ledger)[len(before) :]
            time.sleep(GONE_S)
        goes_on = next(at for number, at in after if number > newest)
        ran = Counter(number for number, _ in itertools.chain(before, after))
        return {
            "spawn_to_progress_ms": round((goes_on - spawned) * 1e3),
            "finished_steps_run_twice": sum(ran[number] > 1 for number in ran if number < newest),
            "unfinished_step_run_twice": int(ran[newest] > 1),
        }


class _Child:
    """A process that is killed, without a chance to say goodbye, in the end."""

    def __init__(self, command: list[str], folder: str, environment: Mapping[str, str]) -> None:
        self._said = Path(folder) / "said"
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.kill()
        self._process.wait()

    def await_lines(self, ledger: Path, enough: Any) -> None:
        """Wait until the ledger has what is wanted."""
        deadline = time.monotonic() + WAIT_S
        while not ((ran := _read(ledger)) and enough(ran)):
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise Failed((self._said.read_text().strip().splitlines() or ["it does not go on"])[-1])
            time.sleep(0.002)


def _read(ledger: Path) -> list[tuple[int, float]]:
    """The numbers of the steps that ran, and when."""
    lines = ledger.read_text().splitlines()
    return [(int(number), float(at)) for number, at in map(str.split, lines)]
