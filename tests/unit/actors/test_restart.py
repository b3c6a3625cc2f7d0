"""A router that starts again from the log decides as if it had never stopped."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from generators.made_up_models import Model, Play

from callboard.events.envelope import decode, encode
from callboard.projections.backends import BACKENDS, Backends
from callboard.projections.learning import LEARNING
from callboard.projections.pace import EVERY
from callboard.projections.projection import dump, fold, load

MODELS = {
    "a": Model(100, {"letters": 0.5, "sums": 0.3}),
    "b": Model(300, {"letters": 0.9, "sums": 0.4}),
    "c": Model(300, {"letters": 0.4, "sums": 0.9}),
    "d": Model(1200, {"letters": 0.9, "sums": 0.9}),
}
TESTS = Path(__file__).parents[2]
FIRST, TAIL, NEXT = 300, 90, 1000

DECIDE = """
from generators.made_up_models import Model, Play
play = Play({name: Model(100 * n, {"letters": 0.3 + n / 10, "sums": 0.5}) for n, name in enumerate(NAMES, 1)}, pace=250)
for _ in range(60):
    print(play.decide())
    play.step()
"""


def played(policy: str, pace: int, steps: int) -> Play:
    play = Play(MODELS, policy, pace, seed=7)
    play.steps(steps)
    return play


def decisions(play: Play, number: int = NEXT) -> list[object]:
    start = len(play.history)
    play.steps(number)
    return [envelope.event for envelope in play.history[start:] if envelope.event.type.endswith("assigned.v2")]


@pytest.mark.parametrize(("policy", "pace"), [("adaptive", 250), ("adaptive", 0), ("best", 0), ("cheapest", 0)])
def test_the_next_decisions_are_the_same(policy, pace):
    """Live, folded anew from the first event, or from a snapshot and what came after: a thousand equal decisions."""
    play = played(policy, pace, FIRST)
    number, history, snapshot = play.number, len(play.history), dump(LEARNING, play.learning, 5)
    play.steps(TAIL)
    stored = decode(encode(play.history))
    number += TAIL

    restored = load(LEARNING, snapshot)
    assert restored is not None
    anew = fold(LEARNING, LEARNING.initial(), stored)
    continued = fold(LEARNING, restored[0], stored[history:])
    backends = fold(BACKENDS, BACKENDS.initial(), stored)
    expected = decisions(play)
    assert len(expected) == NEXT
    assert len({event.backend for event in expected}) > (policy == "adaptive")

    for state in (anew, continued):
        again = Play(MODELS, policy, pace, seed=7)
        again.number, again.learning, again.backends = number, state, backends
        assert decisions(again) == expected


def test_the_order_of_a_map_decides_nothing():
    """Maps have no order of their own: backends that came in another order make no other decisions."""
    play = played("adaptive", 250, 13 * EVERY)
    before = play.decide()
    assert before.decision.solved
    for names in (sorted(MODELS), sorted(MODELS, reverse=True)):
        play.backends = Backends({name: play.backends.by_id[name] for name in names})
        assert play.decide() == before


def test_another_process_decides_the_same():
    """Python hashes texts anew in every process, and that decides nothing."""
    names = ["alpha", "beta", "gamma", "delta", "epsilon"]
    heard = set()
    for seed in ("1", "2", "3"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
        code = f"NAMES = {names}\n{DECIDE}"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        heard.add(done.stdout)
    assert len(heard) == 1
    assert heard.pop().count("Assigned(") == 60
