"""Backends that the environment offers without any settings: API keys that are set, model servers on this machine.

Labels claim only what is known. A model is ``local`` and ``no-train``, and free, only if prompts stay on this
machine, and the window of a hosted model ends where its price would rise.
"""

import asyncio
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct, field

from callboard.deploy.settings import PROVIDER_KEYS, PROVIDER_URLS, Backend, ProviderName, Tier
from callboard.events.money import Price

PROBE_TIMEOUT_S = 0.25
"""How long one question to a model server may take, from connecting to the last byte."""

_MOST_BYTES = 1 << 20
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_UNTOLD_CONTEXT = 4096  # what Ollama gives any model unless told otherwise, however long its window could be
_LOADING_NS = 120_000_000_000  # a model may be loaded when it is first called
_MEDIUM_BYTES = 12_000_000_000  # weights of about 20 billion parameters at 4 to 5 bits

_HOSTED: tuple[tuple[ProviderName, Tier, str, int], ...] = (
    ("openai", "small", "gpt-6-luna", 272_000),
    ("openai", "frontier", "gpt-6.1-sol", 272_000),
    ("anthropic", "small", "claude-haiku-5-5", 100_000),
    ("anthropic", "frontier", "claude-opus-5-5", 1_000_000),
)

Reply = TypeVar("Reply")


class _OllamaDetails(Struct):
    family: str = ""


class _OllamaModel(Struct):
    name: str
    size: int = 0
    remote_host: str = ""
    details: _OllamaDetails = field(default_factory=_OllamaDetails)


class _OllamaTags(Struct):
    models: list[_OllamaModel]


class _LlamaMeta(Struct):
    n_ctx: int | None = None
    size: int = 0


class _LlamaModel(Struct):
    id: str
    owned_by: str
    meta: _LlamaMeta | None = None  # null until the model is loaded


class _LlamaModels(Struct):
    data: list[_LlamaModel]


class _LlamaGeneration(Struct):
    n_ctx: int = _UNTOLD_CONTEXT


class _LlamaProps(Struct):
    default_generation_settings: _LlamaGeneration = field(default_factory=_LlamaGeneration)
    total_slots: int = 1


async def discover(environ: Mapping[str, str], probe: bool = True) -> dict[str, Backend]:
    """Backends by name, hosted ones first.

    A key is not used if ``OPENAI_BASE_URL`` or ``ANTHROPIC_BASE_URL`` says that it is for another server. Ollama is
    sought at ``OLLAMA_HOST`` and llama.cpp at ``LLAMA_ARG_HOST`` and ``LLAMA_ARG_PORT``, or where they are by default.

    Args:
        environ: the environment variables.
        probe: whether to ask model servers; takes up to two PROBE_TIMEOUT_S.
    """
    found = {
        f"{provider}-{tier}": Backend(
            provider=provider, model=model, tier=tier, context=context, capabilities=("chat", "tools", "schema")
        )
        for provider, tier, model, context in _HOSTED
        if _has_own_key(provider, environ)
    }
    if probe:
        for served in await asyncio.gather(_ollama(environ), _llama_cpp(environ)):
            found |= served
    return found


def _has_own_key(provider: str, environ: Mapping[str, str]) -> bool:
    told = environ.get(f"{provider.upper()}_BASE_URL", "")
    return bool(environ.get(PROVIDER_KEYS[provider])) and (not told or told.startswith(PROVIDER_URLS[provider]))


async def _ollama(environ: Mapping[str, str]) -> dict[str, Backend]:
    scheme, _, address = environ.get("OLLAMA_HOST", "").strip().rpartition("://")
    origin = _origin(scheme, address, {"http": 80, "https": 443}.get(scheme, 11434))
    tags = await _ask(origin, "/api/tags", _OllamaTags)
    return _named(
        "ollama",
        {
            model.name: _served(
                origin,
                model.name,
                forwarded=bool(model.remote_host),
                weights=model.size,
                context=_UNTOLD_CONTEXT,
                concurrency=1,
            )
            for model in (tags.models if tags else ())
            if "bert" not in model.details.family  # embeds, can't chat
        },
    )


async def _llama_cpp(environ: Mapping[str, str]) -> dict[str, Backend]:
    address = f"{environ.get('LLAMA_ARG_HOST', '')}:{environ.get('LLAMA_ARG_PORT', '8080')}"
    origin = _origin("", address, 8080)
    listed = await _ask(origin, "/v1/models", _LlamaModels)
    models = [model for model in listed.data if model.owned_by == "llamacpp"] if listed else []
    props = (await _ask(origin, "/props", _LlamaProps) if models else None) or _LlamaProps()
    backends = {}
    for model in models:
        meta = model.meta or _LlamaMeta()
        backends[model.id] = _served(
            origin,
            model.id,
            weights=meta.size,
            context=meta.n_ctx or props.default_generation_settings.n_ctx,
            concurrency=props.total_slots,
        )
    return _named("llamacpp", backends)


def _origin(scheme: str, address: str, port: int) -> str:
    """The address to call: where a server listens on every interface, this machine's own."""
    host, _, told = address.rpartition(":") if re.search(r":\d*$", address) else (address, "", "")
    if host in ("", "0.0.0.0", "[::]", "::"):  # noqa: S104  compared, not bound
        host = "127.0.0.1"
    return f"{scheme or 'http'}://{host}:{told or port}"


def _served(
    origin: str, model: str, *, forwarded: bool = False, weights: int, context: int, concurrency: int
) -> Backend:
    stays_here = not forwarded and urlsplit(origin).hostname in _LOOPBACK
    return Backend(
        provider="openai",
        model=model,
        url=f"{origin}/v1",
        capabilities=("chat", "schema"),
        tier="small" if 0 < weights < _MEDIUM_BYTES and not forwarded else "medium",
        context=context,
        concurrency=concurrency,
        data_policy=("local", "no-train") if stays_here else (),
        price=Price() if stays_here else None,
        first_token_timeout_ns=_LOADING_NS,
    )


def _named(server: str, backends: Mapping[str, Backend]) -> dict[str, Backend]:
    """Backends by an id made of the server's name and the last part of the model's; a number tells equal ones apart."""
    named: dict[str, Backend] = {}
    for model, backend in backends.items():
        label = PurePath(model).name.removesuffix(":latest").removesuffix(".gguf")
        slug = re.sub(r"[^A-Za-z0-9_]+", "-", label).strip("-")
        name = plain = f"{server}-{slug}"[:60]
        again = 1
        while name in named:
            again += 1
            name = f"{plain}-{again}"
        named[name] = backend
    return named


async def _ask(origin: str, path: str, reply: type[Reply]) -> Reply | None:
    """What the server answers to GET, or None if there is none, it is slow, or it answers something else."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            return msgspec.json.decode(await _get(origin, path), type=reply)
    except (OSError, EOFError, ValueError, asyncio.LimitOverrunError, msgspec.DecodeError):
        return None


async def _get(origin: str, path: str) -> bytes:
    """The body of the answer. Spoken as HTTP/1.0: the answer is whole, and no proxy stands between."""
    parts = urlsplit(origin)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=parts.scheme == "https" or None)
    try:
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {parts.netloc}\r\nAccept: application/json\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if not re.match(rb"HTTP/1\.\d 200\b", head):
            return b""
        length = re.search(rb"\r\ncontent-length: *(\d{1,9})\r\n", head, re.IGNORECASE)
        return await reader.readexactly(min(int(length[1]), _MOST_BYTES)) if length else await reader.read()
    finally:
        writer.transport.abort()
