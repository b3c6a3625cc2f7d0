import asyncio
import gzip
import os
import re
import socket
import subprocess
import sys
from contextlib import aclosing, suppress

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from servers.model_server import Behaviour, ModelServer

from callboard.actors.backend.providers import exchange, http
from callboard.actors.backend.providers.openai import OpenAICompatible
from callboard.actors.backend.providers.provider import Answer, Delta, FailureKind, Request
from callboard.events.chat import Message, Usage
from callboard.events.errors import InvalidInput

PARENT = "00-" + "a1" * 16 + "-" + "b2" * 8 + "-01"


def provider(server, **options):
    return OpenAICompatible(server.url, "m", **options)


@pytest.fixture
def spans():
    """What the process's SDK records; set up once, as OpenTelemetry allows no more."""
    sdk = trace.get_tracer_provider()
    if not isinstance(sdk, TracerProvider):
        sdk = TracerProvider()
        trace.set_tracer_provider(sdk)
    exporter = InMemorySpanExporter()
    sdk.add_span_processor(SimpleSpanProcessor(exporter))
    yield exporter.get_finished_spans
    exporter.shutdown()


async def test_a_server_that_is_not_there_is_named(refused):
    """A refused connection is unavailable, and the message holds the URL, the reason and a hint."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        error = await refused(OpenAICompatible(url + "?key=secret", "m"))
    assert error.kind is FailureKind.UNAVAILABLE
    assert str(error) == f"can't reach {url}/chat/completions: connection refused; is the server up?"


async def test_an_idle_connection_that_was_closed_costs_no_call(hello):
    """A server that hangs up on a connection used before is asked again; one that does on a new one gave no answer."""
    requests, gone = [], asyncio.Semaphore(0)
    body = b'data: {"choices":[{"delta":{"content":"yes"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'

    async def serve(reader, writer) -> None:
        with suppress(asyncio.IncompleteReadError):
            for number in range(2):
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(re.search(rb"content-length: (\d+)", head, re.IGNORECASE)[1]))
                requests.append(number)
                if number == 0:
                    kind = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                    writer.write(kind + b"content-length: %d\r\n\r\n" % len(body) + body)
        writer.close()
        gone.release()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        model = OpenAICompatible(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", "m")
        for _ in range(3):
            *_, answer = [part async for part in model.stream(hello)]
            assert answer.text == "yes"
        assert requests == [0, 1, 0, 1, 0]
        await model.aclose()
        for _ in range(3):
            await gone.acquire()


async def test_a_name_that_is_unknown_is_unavailable(refused, monkeypatch):
    """A host that does not resolve is told in the resolver's words."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    error = await refused(OpenAICompatible("http://nowhere.invalid/v1", "m"))
    assert error.kind is FailureKind.UNAVAILABLE
    assert "can't reach http://nowhere.invalid/v1/chat/completions: " in str(error)


@pytest.mark.parametrize("reply", [b"", b"SSH-2.0-OpenSSH_9.2\r\n"])
async def test_what_is_not_http_is_unavailable(refused, reply):
    """A server that hangs up, or speaks something else, gave no answer."""

    async def speak(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(speak, "127.0.0.1", 0) as running:
        port = running.sockets[0].getsockname()[1]
        error = await refused(OpenAICompatible(f"http://127.0.0.1:{port}/v1", "m"))
    assert error.kind is FailureKind.UNAVAILABLE
    assert str(error).startswith(f"http://127.0.0.1:{port}/v1/chat/completions gave no answer: ")


@pytest.mark.parametrize("stall", [Behaviour(before_headers=60), Behaviour(before_first_token=60)])
async def test_no_first_token_in_time_is_a_timeout(server, refused, stall):
    """The first deadline covers the headers and the first token, and the connection is closed."""
    server.script(stall)
    error = await refused(provider(server, first_token_timeout_s=0.3))
    assert error.kind is FailureKind.TIMEOUT
    assert "sent no token within 0.3 s" in str(error)
    assert error.usage.output == 0
    await asyncio.wait_for(server.calls[0].done.wait(), 5)
    assert server.calls[0].disconnected


async def test_no_end_in_time_is_a_timeout_that_cost(server, refused):
    """After the first token only the whole answer's deadline counts; what was used is told."""
    server.script(Behaviour(text="one two three", stall_after=2))
    error = await refused(provider(server, first_token_timeout_s=0.05, timeout_s=0.2))
    assert error.kind is FailureKind.TIMEOUT
    assert "sent no whole answer within 0.2 s" in str(error)
    assert error.usage.input > 0
    assert error.usage.output > 0


async def test_a_slow_listener_is_no_slow_server(server, hello):
    """The first deadline does not count while the caller holds a piece."""
    async with aclosing(provider(server, first_token_timeout_s=0.1)) as slow:
        parts = []
        async for part in slow.stream(hello):
            parts.append(part)
            if len(parts) == 1:
                await asyncio.sleep(0.15)
    assert isinstance(parts[-1], Answer)


async def test_closing_early_hangs_up(server, hello):
    """``aclose`` closes the TCP connection, so that the server stops."""
    server.script(Behaviour(text="one two three", stall_after=1))
    async with aclosing(provider(server)) as model:
        async with aclosing(model.stream(hello)) as stream:
            assert await anext(stream) == Delta("one")
        await asyncio.wait_for(server.calls[0].done.wait(), 5)
    assert server.calls[0].disconnected
    assert server.calls[0].output == 1


@pytest.mark.parametrize("stall", [Behaviour(before_headers=60), Behaviour(before_first_token=60)])
async def test_cancelling_hangs_up(server, hello, stall):
    """Cancelling the task that waits closes the TCP connection."""
    server.script(stall)
    async with aclosing(provider(server)) as model:
        task = asyncio.ensure_future(anext(model.stream(hello)))
        while not server.calls:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.calls[0].done.wait(), 5)
    assert server.calls[0].disconnected


async def test_connections_are_used_again(server, hello):
    """A finished answer, and a refusal, leave their connection for the next call."""
    server.script(Behaviour(), Behaviour(status=400), Behaviour(whole=True))
    async with aclosing(provider(server)) as model:
        for _ in range(4):
            try:
                assert [part async for part in model.stream(hello)]
            except http.ProviderError:
                continue
    assert [call.connection for call in server.calls] == [0, 0, 0, 0]


async def test_many_calls_run_at_once(server, hello):
    """One provider takes as many calls as it is given."""
    server.default = Behaviour(before_first_token=0.05)

    async def one(model):
        return [part async for part in model.stream(hello)][-1].text

    async with aclosing(provider(server)) as model:
        texts = await asyncio.gather(*(one(model) for _ in range(120)))
    assert texts == ["hello wide world"] * 120


async def test_an_answer_that_never_stops_is_refused(server, refused, monkeypatch):
    """A body beyond the limit is malformed and cut off."""
    monkeypatch.setattr(http, "ANSWER_LIMIT", 1 << 20)
    server.script(Behaviour(body=b": comment\n" * 200_000))
    error = await refused(provider(server))
    assert error.kind is FailureKind.MALFORMED
    assert "more than 1 MiB" in str(error)


async def test_a_large_event_is_refused(server, refused):
    """An event beyond 4 MiB is malformed."""
    server.script(Behaviour(body=b"data: " + b"x" * (4 << 20) + b"\n\n"))
    error = await refused(provider(server))
    assert error.kind is FailureKind.MALFORMED
    assert "an event of more than 4 MiB" in str(error)


async def test_a_compressed_answer_is_read(server, ask):
    """gzip is not asked for, yet understood; a broken one is malformed."""
    body = b'data: {"choices": [{"delta": {"content": "hi"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
    zipped = {"content-encoding": "gzip"}
    server.script(Behaviour(body=gzip.compress(body), headers=zipped), Behaviour(body=body, headers=zipped))
    _, answer = await ask(provider(server))
    assert answer.text == "hi"
    with pytest.raises(http.ProviderError) as caught:
        await ask(provider(server))
    assert caught.value.kind is FailureKind.MALFORMED
    assert server.calls[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("usage", ["usage", "no usage"])
@pytest.mark.parametrize("last", ["finish reason", "[DONE]"])
async def test_a_finished_answer_needs_no_closed_stream(server, ask, monkeypatch, last, usage):
    """When the server has said why it ends, a stream that stays open delays the answer only a moment."""
    monkeypatch.setattr(exchange, "USAGE_GRACE_S", 0.05)
    tail = {"finish reason": "", "[DONE]": "data: [DONE]\n\n"}[last]
    told = {"usage": ', "usage": {"prompt_tokens": 3, "completion_tokens": 1}', "no usage": ""}[usage]
    event = 'data: {"choices": [{"delta": {"content": "hi"}, "finish_reason": "stop"}]' + told + "}\n\n"
    data = (event + tail).encode()

    async def hold(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + data)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(hold, "127.0.0.1", 0) as running:
        port = running.sockets[0].getsockname()[1]
        _, answer = await ask(OpenAICompatible(f"http://127.0.0.1:{port}/v1", "m"))
    assert (answer.text, answer.finish, answer.estimated) == ("hi", "stop", usage == "no usage")


async def test_the_call_can_be_matched_with_the_servers_log(server, ask, hello):
    """The call's id is the request's and the idempotency key; without one neither is sent."""
    await ask(provider(server))
    await ask(provider(server), Request(messages=hello.messages))
    named, nameless = (call.headers for call in server.calls)
    assert named["x-request-id"] == named["idempotency-key"] == "call-1"
    assert not {"x-request-id", "idempotency-key"} & nameless.keys()


async def test_a_key_is_sent_and_never_shown(server, refused):
    """The key goes into its header; where a server repeats it, the error hides it."""
    server.script(Behaviour(status=401, error="wrong key sk-12345678, go away"))
    error = await refused(provider(server, api_key="sk-12345678"))
    assert server.calls[0].headers["authorization"] == "Bearer sk-12345678"
    assert error.kind is FailureKind.UNAUTHORIZED
    assert str(error) == f"{server.url}/chat/completions answered 401 Unauthorized: wrong key ***, go away"


async def test_credentials_in_the_url_are_never_shown(server, refused):
    """Query and password of the URL are sent but not shown."""
    server.script(Behaviour(status=500))
    url = server.url.replace("http://", "http://me:hush@") + "?api-version=7&key=hush"
    error = await refused(OpenAICompatible(url, "m"))
    assert "hush" not in str(error)
    assert server.calls[0].headers["authorization"].startswith("Basic ")


@pytest.mark.parametrize("url", ["", "127.0.0.1:80", "ftp://x/v1", "http://", "http://[::1", "http://x:port/"])
def test_an_url_that_can_not_be_used_is_refused_at_once(url):
    """A wrong URL is an input error with the URL in it."""
    with pytest.raises(InvalidInput, match=r"url '.*' is not valid"):
        OpenAICompatible(url, "m")


def test_a_key_with_a_line_break_is_refused_at_once():
    """A key read from a file with its line break is told, without being shown."""
    with pytest.raises(InvalidInput, match="line break") as caught:
        OpenAICompatible("http://127.0.0.1/v1", "m", api_key="sk-1\n")
    assert "sk-1" not in str(caught.value)


async def test_what_is_no_json_is_invalid(server, refused):
    """A request that can't be written is told as such, and nothing is sent."""
    error = await refused(provider(server), Request(messages=(Message("user", "\ud800"),)))
    assert error.kind is FailureKind.INVALID
    assert server.calls == []


async def test_a_proxy_is_used_but_not_for_loopback(server, ask, monkeypatch):
    """The environment's proxy serves other hosts only."""
    proxy = server.url.removesuffix("/v1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, proxy)
    await ask(OpenAICompatible("http://model.invalid/v1", "m"))
    assert server.calls[0].headers["host"] == "model.invalid"
    async with ModelServer() as near:
        await ask(provider(near))
        assert len(near.calls) == 1
    assert len(server.calls) == 1


async def test_a_span_tells_the_attempt(server, ask, spans):
    """The span is the child of the call's, has HTTP's attributes, and is what the server sees as parent."""
    await ask(
        OpenAICompatible(server.url + "?key=hush", "m"), Request(messages=(Message("user", "x"),), traceparent=PARENT)
    )
    (span,) = spans()
    assert (span.name, span.kind, span.status.status_code) == ("POST", SpanKind.CLIENT, StatusCode.UNSET)
    assert span.attributes == {
        "http.request.method": "POST",
        "url.full": f"{server.url}/chat/completions",
        "server.address": "127.0.0.1",
        "server.port": server.port,
        "http.response.status_code": 200,
    }
    assert f"{span.context.trace_id:032x}" == "a1" * 16
    assert f"{span.parent.span_id:016x}" == "b2" * 8
    assert server.calls[0].headers["traceparent"] == f"00-{'a1' * 16}-{span.context.span_id:016x}-01"


@pytest.mark.parametrize(
    ("behaviour", "error_type"),
    [
        (Behaviour(status=429), "429"),
        (Behaviour(cut_after=1), "malformed"),
        (Behaviour(before_headers=60), "timeout"),
    ],
)
async def test_a_span_tells_the_failure(server, refused, spans, behaviour, error_type):
    """``error.type`` is the status, or else the kind of failure."""
    server.script(behaviour)
    await refused(provider(server, first_token_timeout_s=0.05))
    (span,) = spans()
    assert span.attributes["error.type"] == error_type
    assert span.status.status_code is StatusCode.ERROR


async def test_a_span_ends_with_a_call_that_is_given_up(server, hello, spans):
    """Closing early ends the span as cancelled, which is no error."""
    async with aclosing(provider(server)) as model, aclosing(model.stream(hello)) as stream:
        await anext(stream)
    (span,) = spans()
    assert span.attributes["error.type"] == "cancelled"
    assert span.status.status_code is StatusCode.UNSET


async def test_without_a_recording_span_the_parent_is_sent_on(server, ask, hello):
    """A call that is not sampled here still carries its trace."""
    unsampled = PARENT.removesuffix("01") + "00"
    await ask(provider(server), Request(messages=hello.messages, traceparent=unsampled))
    assert server.calls[0].headers["traceparent"] == unsampled


async def test_usage_of_a_refusal_is_nothing(server, refused):
    """What was refused, or never reached, cost nothing."""
    server.script(Behaviour(status=500))
    assert (await refused(provider(server))).usage == Usage()


def test_importing_callboard_does_not_import_httpx():
    """The HTTP client is loaded only when a provider needs it."""
    code = "import callboard, callboard.actors.backend.providers, sys; sys.exit('httpx' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))
