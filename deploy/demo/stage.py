"""The demo's node: two real models on this machine, as two backends, and what else was asked for."""

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from callboard.deploy.models.llama_server import LlamaServer
from callboard.deploy.models.weights import GEMMA3, SMOLLM2, Model, by_example, fetch
from callboard.deploy.node import Node
from callboard.deploy.settings import Backend, Settings
from callboard.events.money import Price

SMALL: Final = SMOLLM2.name
LARGE: Final = GEMMA3.name
SLOTS: Final = 2
CONTEXT: Final = 2048

PRICES: Final = {SMALL: Price(input=20_000, output=40_000), LARGE: Price(input=80_000, output=160_000)}
"""What the demo pretends that a hosted model of each size costs (micro-dollars a million tokens)."""


def models_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where weights are kept between runs."""
    cache = environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(environ.get("CALLBOARD_MODELS") or Path(cache) / "callboard" / "models")


@asynccontextmanager
async def staged(
    settings: Settings, more: Mapping[str, Backend], progress: Callable[[str], None]
) -> AsyncIterator[Node]:
    """A running node with both models, and ``more`` backends. Fetches the weights when they aren't there yet."""
    backends = dict(more)
    async with AsyncExitStack() as stack:
        for model in (by_example(SMOLLM2), GEMMA3):
            weights = await fetch(model, models_folder(), progress)
            progress(f"starting {model.name}")
            settings.data_folder.mkdir(parents=True, exist_ok=True)
            log = settings.data_folder / f"{model.name}.log"
            server = LlamaServer(model, weights, log=log, slots=SLOTS, context=CONTEXT)
            await stack.enter_async_context(server)
            backends[model.name] = _backend(model, server.url)
        progress("starting the node")
        configured = Settings(
            data=settings.data,
            nats=settings.nats,
            router=settings.router,
            telemetry=settings.telemetry,
            backends=backends,
        )
        yield await stack.enter_async_context(Node(configured))


def _backend(model: Model, url: str) -> Backend:
    return Backend(
        provider="openai",
        model=model.name,
        url=url,
        capabilities=("chat", "schema", "code"),
        context=CONTEXT,
        data_policy=("local",),
        tier="small" if model.name == SMALL else "medium",
        price=PRICES[model.name],
        concurrency=SLOTS,
    )
