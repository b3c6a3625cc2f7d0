"""Backends from the settings: announced in the log, and turned into providers."""

from collections.abc import Mapping

from callboard.actors.backend.providers.provider import Provider
from callboard.bus.entities import Entities
from callboard.deploy import settings
from callboard.events.backend import Backend, BackendEvent, BackendSpec, Priced, Registered, Removed, Scaled
from callboard.events.errors import InvalidInput

NS = 1_000_000_000


def spec_of(backend: settings.Backend) -> BackendSpec:
    """A configured backend as the log describes it; keys stay out."""
    return BackendSpec(
        provider=backend.provider,
        model=backend.model or backend.function,
        url=backend.address,
        capabilities=backend.capabilities,
        context=backend.context,
        data_policy=backend.data_policy,
        tier=backend.tier,
        concurrency=backend.concurrency,
        rpm=backend.rpm,
        tpm=backend.tpm,
        scaling=backend.scaling,
    )


def first_replicas(backend: settings.Backend) -> int:
    """How many a new backend begins with."""
    if backend.scaling is None:
        return backend.replicas
    return min(max(backend.replicas, backend.scaling.min), backend.scaling.max)


async def register(
    configured: Mapping[str, settings.Backend], backends: Entities[Backend], known: Mapping[str, Backend]
) -> None:
    """Announce every configured backend; nothing is appended for one that the log has the same.

    ``replicas`` of the settings count at the first registration; after that the log does (`callboard scale`).
    """
    for name, backend in configured.items():
        spec, (price, _) = spec_of(backend), backend.price_or_lookup()
        first: list[BackendEvent] = [] if name in known else [Scaled(first_replicas(backend), "as configured")]
        await backends.tell(name, lambda _, s=spec, p=price, f=first: [Registered(s), Priced(p), *f])  # type: ignore[misc]


async def remove(names: set[str], backends: Entities[Backend]) -> None:
    """Take backends off the board; the router gives their tasks to others."""
    for name in names:
        await backends.tell(name, lambda backend: [Removed()] if backend.spec else [])


def provider_of(name: str, backend: settings.Backend, environ: Mapping[str, str]) -> Provider:
    """The provider of a configured backend. Raises InvalidInput when its key or function is missing."""
    if backend.provider == "callable":
        from callboard.actors.backend.providers.callable import CallableProvider, load  # noqa: PLC0415  # lazy

        threads = backend.concurrency if backend.workers == "processes" else 0
        return CallableProvider(load(backend.function), model=backend.model or backend.function, threads=threads)
    key = environ.get(backend.api_key_env) if backend.api_key_env else None
    if backend.api_key_env and not key:
        raise InvalidInput(
            f"backend {name}: the environment has no {backend.api_key_env}: set it, or change api_key_env"
        )
    first, whole = backend.first_token_timeout_ns / NS, backend.timeout_ns / NS
    if backend.provider == "anthropic":
        from callboard.actors.backend.providers.anthropic import AnthropicMessages  # noqa: PLC0415  # lazy

        return AnthropicMessages(backend.url, backend.model, api_key=key, first_token_timeout_s=first, timeout_s=whole)
    from callboard.actors.backend.providers.openai import OpenAICompatible  # noqa: PLC0415  # lazy

    return OpenAICompatible(
        backend.url, backend.model, api_key=key, api=backend.api, first_token_timeout_s=first, timeout_s=whole
    )
