"""The package ``paretobandit`` beside our router: the same trials, if it is installed."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Final

import reports
from decision_time import decision_time
from runs import Case, Figures
from trial import Setting, Trial

MISSING: Final = "not installed, so not run: pip install paretobandit==0.1.1"


class Peers:
    """The package with each of its settings, under names that say so; none if it is not installed."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self.cases: Mapping[str, Case] = {}
        if find_spec("pareto_bandit"):
            import peer

            self._vectors = peer.embedded(setting.learn, setting.measure)
            self.cases = peer.cases(self._vectors)

    def report(self, results: Mapping[str, Sequence[Figures]], pace: int) -> dict[str, Any]:
        """Its figures, and how far our rewards are above its own."""
        if not self.cases:
            return {"paretobandit": MISSING}
        ours = results["stationary"]
        return {
            name: reports.beside_mix(results[name], self._setting, pace)
            | {"our reward above it": reports.difference(ours, results[name], "reward")}
            for name in self.cases
        }

    def decision_times(self, pace: int) -> dict[str, Any]:
        """Of our router from a prompt's text on, of the package from a vector on that was computed before."""
        trial = Trial(self._setting, pace, 0)
        found: dict[str, Any] = {"callboard, from text": decision_time(trial.world(), trial.measure)}
        if not self.cases:
            return found | {"paretobandit": MISSING}
        import peer

        theirs = peer.learned(trial, self._vectors, next(iter(peer.HYPERPARAMETERS)))
        return found | {f"paretobandit {peer.VERSION}, from a vector": decision_time(theirs, trial.measure)}
