"""The package ``paretobandit`` on the same prompts in the same order, told as much as our router is.

It is set up as its own repository's experiment 01 has it, but for two things that cannot be had without its embedding
model: prompts are vectors of TF-IDF, and there are no warm-up priors. Its settings for a start without priors
(``BEST_K3_TABULA_RASA_HPARAMS``) are run as well, so that it is not judged by settings meant for another start.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any, Final, TypeAlias

import numpy as np
from offers import Offer
from pareto_bandit import config
from pareto_bandit.budget_pacer import BudgetPacer, PacingMode
from pareto_bandit.feature_service import FeatureService
from pareto_bandit.router import BanditRouter
from pareto_bandit.storage import EphemeralContextStore
from runs import Case
from scenarios import Choice, figures_of, share
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from stream import UNITS_PER_USD, Prompt
from trial import Trial

COMPONENTS: Final = 25
HYPERPARAMETERS: Final[dict[str, dict[str, Any]]] = {
    "experiment 01": config.BEST_K3_HPARAMS,
    "without priors": config.BEST_K3_TABULA_RASA_HPARAMS,
}
VERSION: Final = version("paretobandit")
Vectors: TypeAlias = Mapping[str, np.ndarray]
"""Features by a prompt's text."""


class Peer:
    """Its router at a pace, and a clock-free step: route, then tell the cost and the reward."""

    def __init__(self, offers: Mapping[str, Offer], pace: int, seed: int, vectors: Vectors, settings: str) -> None:
        hyperparameters = HYPERPARAMETERS[settings]
        self._vectors = vectors
        self._router = BanditRouter.create(
            model_registry=_registry(offers),
            feature_service=FeatureService.for_precomputed(len(next(iter(vectors.values())))),
            context_store=EphemeralContextStore(),
            priors="none",
            alpha=hyperparameters["alpha"],
            forgetting_factor=hyperparameters["forgetting_factor"],
            bandit_seed=seed,
            cost_penalty=0.0,
            budget_pacer=BudgetPacer(
                target_avg_spend_usd=pace / UNITS_PER_USD,
                mode=PacingMode.ADAPTIVE,
                lr=config.DEFAULT_PACER_LR,
                lambda_max=config.DEFAULT_PACER_LAMBDA_MAX,
            ),
        )

    def decide(self, text: str) -> tuple[str, Any]:
        """The model for a prompt, and the package's record of the decision."""
        model, log = self._router.route(self._vectors[text])
        return model, log

    def tell(self, prompt: Prompt, decision: tuple[str, Any]) -> None:
        """Tell what the chosen model's answer cost, and what it was worth."""
        model, log = decision
        log.cost_usd = prompt.outcomes[model].cost / UNITS_PER_USD
        self._router.process_feedback(log.request_id, reward=prompt.outcomes[model].reward / 1e6)

    def step(self, prompt: Prompt) -> Choice:
        """Route a prompt, and tell what came of it."""
        decision = self.decide(prompt.text)
        self.tell(prompt, decision)
        return decision[0], prompt.outcomes[decision[0]]


def cases(vectors: Vectors) -> dict[str, Case]:
    """What is to be run, under a name for each of its settings."""
    return {f"paretobandit, {name}": partial(stationary, vectors=vectors, settings=name) for name in HYPERPARAMETERS}


def stationary(trial: Trial, vectors: Vectors, settings: str) -> dict[str, float]:
    """What `scenarios.stationary` does, by the package."""
    peer = learned(trial, vectors, settings)
    choices = [peer.step(prompt) for prompt in trial.measure]
    return figures_of(choices, trial.pace) | {f"share {name}": share(choices, name) for name in trial.offers}


def learned(trial: Trial, vectors: Vectors, settings: str) -> Peer:
    """The package's router when it has learned."""
    peer = Peer(trial.offers, trial.pace, trial.seed, vectors, settings)
    for prompt in trial.learn:
        peer.step(prompt)
    return peer


def embedded(learn: Sequence[Prompt], measure: Sequence[Prompt]) -> Vectors:
    """TF-IDF, its first singular vectors whitened, and a bias; all of it fitted on the prompts to learn on."""
    words = TfidfVectorizer(sublinear_tf=True, min_df=2)
    counts = words.fit_transform([prompt.text for prompt in learn])
    projection = TruncatedSVD(min(COMPONENTS, counts.shape[1] - 1, len(learn) - 1), random_state=0)
    spread = projection.fit_transform(counts).std(axis=0)
    texts = [prompt.text for prompt in (*learn, *measure)]
    vectors = projection.transform(words.transform(texts)) / np.maximum(spread, 1e-9)
    return dict(zip(texts, np.hstack([vectors, np.ones((len(texts), 1))]), strict=True))


def _registry(offers: Mapping[str, Offer]) -> dict[str, dict[str, float]]:
    """Prices in dollars a million tokens, the package's own where it knows the model."""
    shipped = json.loads(config.DEFAULT_MODEL_REGISTRY_PATH.read_text(encoding="utf-8"))["models"]
    known = {model["model_id"]: model for model in shipped}
    names = ("input_cost_per_m", "output_cost_per_m")
    return {
        model: {name: known.get(model, {}).get(name, offer.price / UNITS_PER_USD) for name in names}
        for model, offer in offers.items()
    }
