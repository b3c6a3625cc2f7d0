import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from callboard.deploy.discovery import discover
from callboard.deploy.settings import Backend, listed_price
from callboard.events.ids import checked_id
from callboard.events.money import Price

KEYS = {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"}
NOWHERE = {"OLLAMA_HOST": "127.0.0.1:1", "LLAMA_ARG_PORT": "1"}


@asynccontextmanager
async def server(answers, *, length=True):
    """A model server on a free port that answers GET with JSON by path, 404 elsewhere, and hangs where told None."""

    async def serve(reader, writer):
        path = (await reader.readline()).split()[1].decode()
        while await reader.readline() != b"\r\n":
            pass
        answer = answers.get(path, b"")
        if answer is None:
            await reader.read()
        else:
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            size = f"Content-Length: {len(body)}\r\n" if length else ""
            writer.write(f"HTTP/1.1 {200 if path in answers else 404} X\r\nServer: x\r\n{size}\r\n".encode() + body)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1]


OLLAMA = {
    "/api/tags": {
        "models": [
            {
                "name": "llama3.2:latest",
                "model": "llama3.2:latest",
                "size": 2_000_000_000,
                "details": {"family": "llama"},
            },
            {"name": "qwen3:32b", "size": 20_000_000_000, "details": {"family": "qwen3", "families": None}},
            {"name": "nomic-embed-text:latest", "size": 1, "details": {"family": "nomic-bert"}},
            {"name": "gpt-oss:120b-cloud", "size": 384, "remote_host": "https://ollama.com:443"},
        ]
    }
}


async def test_an_environment_without_anything_offers_nothing():
    """No keys and no servers: no backends, and no error."""
    assert await discover(NOWHERE) == {}


async def test_keys_offer_a_small_and_a_frontier_model_each():
    """Each provider whose key is set offers two backends that can be called as they are; an empty key offers none."""
    found = await discover(KEYS, probe=False)
    assert list(found) == ["openai-small", "openai-frontier", "anthropic-small", "anthropic-frontier"]
    assert [backend.tier for backend in found.values()] == ["small", "frontier"] * 2
    assert {backend.api_key_env for backend in found.values()} == KEYS.keys()
    assert list(await discover({"OPENAI_API_KEY": "", "ANTHROPIC_API_KEY": "k"}, probe=False)) == list(found)[2:]


async def test_offered_models_are_on_the_price_list_at_one_price_for_the_whole_window():
    """The hosted models exist on the price list, not deprecated, and no prompt that fits is dearer than told."""
    from genai_prices import Usage, calc_price

    for backend in (await discover(KEYS, probe=False)).values():
        listed = calc_price(Usage(), backend.model, provider_api_url=backend.url)
        assert listed.model.id == backend.model
        assert not listed.model.deprecated
        assert backend.context <= listed.model.context_window
        for price in (listed.model_price.input_mtok, listed.model_price.output_mtok):
            assert all(backend.context <= step.start for step in getattr(price, "tiers", ()))
        assert listed_price(backend.url, backend.model)


@pytest.mark.parametrize("told", ["http://127.0.0.1:4000", "http://["])
async def test_a_key_for_another_server_is_left_alone(told):
    """A base URL in the environment means that the key isn't for the provider's own server."""
    assert await discover(KEYS | {"OPENAI_BASE_URL": told, "ANTHROPIC_BASE_URL": told}, probe=False) == {}
    own = await discover(KEYS | {"OPENAI_BASE_URL": "https://api.openai.com/v1/"}, probe=False)
    assert "openai-small" in own


async def test_models_of_a_local_ollama_are_offered_with_honest_labels():
    """Local models are local and free, forwarded ones neither, and embedding models are left out."""
    async with server(OLLAMA) as port:
        found = await discover(NOWHERE | {"OLLAMA_HOST": f"http://127.0.0.1:{port}"})
        assert await discover(NOWHERE | {"OLLAMA_HOST": f"0.0.0.0:{port}"}) == found
    assert list(found) == ["ollama-llama3-2", "ollama-qwen3-32b", "ollama-gpt-oss-120b-cloud"]
    small, medium, forwarded = found.values()
    assert small == Backend(
        provider="openai",
        model="llama3.2:latest",
        url=f"http://127.0.0.1:{port}/v1",
        capabilities=("chat", "schema"),
        data_policy=("local", "no-train"),
        tier="small",
        context=4096,
        concurrency=1,
        price=Price(),
        first_token_timeout_ns=120 * 10**9,
    )
    assert small.api_key_env == ""
    assert (medium.tier, medium.price_or_lookup()) == ("medium", (Price(), True))
    assert (forwarded.tier, forwarded.data_policy, forwarded.price_or_lookup()) == ("medium", (), (Price(), False))


async def test_a_llama_cpp_server_tells_its_window_and_slots():
    """The window and the calls at once are the server's own, and a file's path becomes a short name."""
    model = {"id": "/models/Smol LM.Q4.gguf", "object": "model", "owned_by": "llamacpp", "meta": {"size": 96_000_000}}
    props = {"default_generation_settings": {"n_ctx": 2048}, "total_slots": 2}
    async with server({"/v1/models": {"data": [model]}, "/props": props}, length=False) as port:
        found = await discover(NOWHERE | {"LLAMA_ARG_HOST": "127.0.0.1", "LLAMA_ARG_PORT": str(port)})
    (backend,) = found.values()
    assert list(found) == ["llamacpp-Smol-LM-Q4"]
    assert (backend.model, backend.url) == (model["id"], f"http://127.0.0.1:{port}/v1")
    assert (backend.context, backend.concurrency, backend.tier) == (2048, 2, "small")
    assert backend.data_policy == ("local", "no-train")


async def test_a_llama_cpp_server_that_tells_little_is_taken_at_the_least():
    """Without /props, and with a model that isn't loaded, the window is small and calls go one by one."""
    models = [
        {"id": "a/m.gguf", "owned_by": "llamacpp", "meta": None},
        {"id": "b/m.gguf", "owned_by": "llamacpp", "meta": {"n_ctx": 1024}},
    ]
    async with server({"/v1/models": {"data": models}}) as port:
        found = await discover(NOWHERE | {"LLAMA_ARG_PORT": str(port)})
    assert {name: (backend.model, backend.context, backend.concurrency) for name, backend in found.items()} == {
        "llamacpp-m": ("a/m.gguf", 4096, 1),
        "llamacpp-m-2": ("b/m.gguf", 1024, 1),
    }


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {"/api/tags": b"<html>", "/v1/models": b"{"},
        {"/api/tags": {"models": [{}]}, "/v1/models": {"data": [{"id": "x", "owned_by": "vllm"}]}},
        {"/api/tags": None, "/v1/models": None},
        {"/api/tags": b"\xff", "/v1/models": b""},
    ],
    ids=["404", "no JSON", "other JSON", "silence", "no text"],
)
async def test_another_server_on_the_port_is_not_offered(answers):
    """Whatever answers there, or doesn't in time, discovery goes on without it."""
    async with server(answers) as port:
        assert await discover({"OLLAMA_HOST": f"127.0.0.1:{port}", "LLAMA_ARG_PORT": str(port)}) == {}


@pytest.mark.parametrize("host", ["http://[", "h:99999", "://", "a..b", "unix:///x"])
async def test_an_address_that_is_none_offers_nothing(host):
    """A mistake in OLLAMA_HOST is Ollama's matter: discovery finds nothing there and goes on."""
    assert await discover(NOWHERE | {"OLLAMA_HOST": host}) in ({}, await discover(NOWHERE))


async def test_names_of_found_backends_are_ids():
    """Long and odd model names become names that subjects can hold, each its own."""
    names = ["x" * 200, "x" * 199 + "y", "hf.co/a/b-GGUF:Q4_K_M", "é.*>"]
    async with server({"/api/tags": {"models": [{"name": name} for name in names]}}) as port:
        found = await discover(NOWHERE | {"OLLAMA_HOST": f":{port}"})
    assert [backend.model for backend in found.values()] == names
    assert all(checked_id(name) for name in found)
