import asyncio
import json
from contextlib import aclosing

import msgspec
import pytest
from servers.model_server import Behaviour

from callboard.actors.backend.providers.anthropic import AnthropicMessages
from callboard.actors.backend.providers.provider import Answer, Delta, FailureKind, Request
from callboard.events.chat import Message, Tool, ToolCall, Usage, estimated_tokens

SCHEMA = {"type": "object", "properties": {"yes": {"type": "boolean"}}}
WEATHER = Tool("weather", "The weather of a town", {"type": "object", "properties": {"town": {"type": "string"}}})


def messages(server, **options):
    return AnthropicMessages(server.url, "m", **options)


def stream_of(*events) -> bytes:
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()


def start(**usage):
    return {"type": "message_start", "message": {"type": "message", "model": "m-1", "usage": usage}}


def text(words):
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": words}}


def end(reason, **usage):
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}


STOP = {"type": "message_stop"}


async def test_an_answer_streams(server, ask):
    """Tokens are deltas as they come; the answer's input counts cached tokens too, and its finish is ``stop``."""
    server.script(Behaviour(cached=2))
    deltas, answer = await ask(messages(server))
    assert deltas == ["hello", " wide", " world"]
    assert answer == Answer("hello wide world", Usage(input=3, output=3, cached=2), "stop", "m")
    assert server.calls[0].finished


async def test_input_is_fresh_read_and_written_together(server, ask):
    """The API's input excludes what a cache served or stored; ours includes it. Later counts replace earlier ones."""
    usage = start(input_tokens=10, cache_read_input_tokens=20, cache_creation_input_tokens=30, output_tokens=1)
    server.script(Behaviour(body=stream_of(usage, text("hi"), end("end_turn", output_tokens=5), STOP)))
    _, answer = await ask(messages(server))
    assert answer == Answer("hi", Usage(input=60, output=5, cached=20), "stop", "m-1")


async def test_the_request_is_told_whole(server, ask):
    """System texts are lifted, tool results stand in the user's turn, and speakers alternate."""
    request = Request(
        messages=(
            Message("system", "be brief"),
            Message("user", "weather in Rome and Oslo?"),
            Message(
                "assistant", "", (ToolCall("c1", "weather", '{"town": "Rome"}'), ToolCall("c2", "weather", "Oslo!"))
            ),
            Message("tool", "sunny", tool_call_id="c1"),
            Message("tool", "not JSON", tool_call_id="c2"),
            Message("user", "go on"),
            Message("system", "be kind"),
        ),
        max_tokens=9,
        temperature=0.5,
        seed=7,
        stop=("END",),
        tools=(WEATHER,),
    )
    await ask(messages(server, api_key="sk-ant-123"), request)
    (call,) = server.calls
    assert call.path == "/v1/messages"
    assert call.headers["x-api-key"] == "sk-ant-123"
    assert call.headers["anthropic-version"] == "2023-06-01"
    assert call.body == {
        "model": "m",
        "stream": True,
        "max_tokens": 9,
        "system": "be brief\n\nbe kind",
        "temperature": 0.5,
        "stop_sequences": ["END"],
        "tools": [{"name": "weather", "description": WEATHER.description, "input_schema": WEATHER.parameters}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "weather in Rome and Oslo?"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "c1", "name": "weather", "input": {"town": "Rome"}},
                    {"type": "tool_use", "id": "c2", "name": "weather", "input": {"arguments": "Oslo!"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": "sunny"},
                    {"type": "tool_result", "tool_use_id": "c2", "content": "not JSON"},
                    {"type": "text", "text": "go on"},
                ],
            },
        ],
    }


async def test_tools_that_were_called_before_need_none_now(server, ask):
    """The API wants some declared all the same, none of which may be called; and it is strict about ids of calls."""
    told = (
        Message("user", "weather?"),
        Message("assistant", "", (ToolCall("functions.weather:0", "weather", "{}"),)),
        Message("tool", "sunny", tool_call_id="functions.weather:0"),
        Message("user", "and now?"),
    )
    await ask(messages(server), Request(told))
    await ask(messages(server), Request(told, schema={"type": "object"}))
    await ask(messages(server), Request(told[:1]))
    bare, with_schema, without = (call.body for call in server.calls)
    assert bare["tool_choice"] == {"type": "none"}
    assert len(bare["tools"]) == 1
    assert bare["messages"][1]["content"][0]["id"] == "functions_weather_0"
    assert bare["messages"][2]["content"][0]["tool_use_id"] == "functions_weather_0"
    assert with_schema["tool_choice"] == {"type": "tool", "name": "answer"}
    assert "tools" not in without


@pytest.mark.parametrize("ending", ["", "/", "/messages"])
async def test_the_url_may_be_written_in_several_ways(server, ask, ending):
    """The base with or without version, or the whole path, do no harm."""
    await ask(AnthropicMessages(server.url + ending, "m"))
    await ask(AnthropicMessages(server.url.removesuffix("/v1") + ending.removesuffix("/messages"), "m"))
    assert {call.path for call in server.calls} == {"/v1/messages"}
    assert server.calls[0].body["max_tokens"] == 4096


@pytest.mark.parametrize("whole", [False, True])
async def test_tool_calls_are_put_together(server, ask, whole):
    """Arguments that come in pieces, of several calls, are whole in the answer; a call without any has an object."""
    calls = (("c1", "weather", '{"town":"Rome"}'), ("c2", "now", "{}"))
    server.script(Behaviour(text="one moment", tool_calls=calls, whole=whole))
    deltas, answer = await ask(messages(server))
    assert ("".join(deltas), answer.text, answer.finish) == ("one moment", "one moment", "tool_calls")
    assert answer.tool_calls == tuple(ToolCall(*call) for call in calls)


@pytest.mark.parametrize("whole", [False, True])
async def test_a_schema_is_a_tool_that_must_be_called(server, ask, hello, whole):
    """The forced tool's JSON is the answer's text and streams as such; it shows as no tool call."""
    server.script(Behaviour(text="let me see", tool_calls=(("c1", "answer", '{"yes":true}'),), whole=whole))
    deltas, answer = await ask(messages(server), msgspec.structs.replace(hello, schema=SCHEMA))
    body = server.calls[0].body
    assert body["tool_choice"] == {"type": "tool", "name": "answer"}
    assert body["tools"][0]["input_schema"] == SCHEMA
    assert "".join(deltas) == answer.text == '{"yes":true}'
    assert (answer.finish, answer.tool_calls) == ("stop", ())


async def test_a_schema_leaves_other_tools_to_be_called(server, ask, hello):
    """With tools of its own, the model may call one of them before it answers."""
    server.script(Behaviour(text="", tool_calls=(("c1", "weather", '{"town":"Rome"}'),)))
    _, answer = await ask(messages(server), msgspec.structs.replace(hello, schema=SCHEMA, tools=(WEATHER,)))
    assert server.calls[0].body["tool_choice"] == {"type": "any"}
    assert (answer.text, answer.finish) == ("", "tool_calls")
    assert answer.tool_calls == (ToolCall("c1", "weather", '{"town":"Rome"}'),)


@pytest.mark.parametrize(("written", "shown"), [('{"answer": ["a"]}', '["a"]'), ('{"answer": ["a', '{"answer": ["a')])
async def test_a_schema_need_not_be_an_objects(server, ask, hello, written, shown):
    """Any other schema is put into an object and taken out again; what was cut short shows as it came."""
    schema = {"type": "array", "items": {"$ref": "#/$defs/letter"}, "$defs": {"letter": {"enum": ["a", "b"]}}}
    server.script(Behaviour(text="", tool_calls=(("c1", "answer", written),)))
    deltas, answer = await ask(messages(server), msgspec.structs.replace(hello, schema=schema))
    assert server.calls[0].body["tools"][0]["input_schema"] == {
        "type": "object",
        "properties": {"answer": {"type": "array", "items": {"$ref": "#/$defs/letter"}}},
        "required": ["answer"],
        "$defs": schema["$defs"],
    }
    assert (deltas, answer.text) == ([], shown)


async def test_the_answer_tools_name_is_taken(server, refused, hello):
    """A request with a schema and a tool named answer is told to rename it."""
    tool = msgspec.structs.replace(WEATHER, name="answer")
    error = await refused(messages(server), msgspec.structs.replace(hello, schema=SCHEMA, tools=(tool,)))
    assert error.kind is FailureKind.INVALID
    assert "rename the tool" in str(error)


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("refusal", "content_filter"),
        ("pause_turn", "pause_turn"),
    ],
)
async def test_why_it_ended_is_told_in_one_vocabulary(server, ask, reason, finish):
    """Stop reasons are OpenAI's words where it has one."""
    server.script(Behaviour(body=stream_of(start(input_tokens=1), end(reason, output_tokens=1), STOP)))
    _, answer = await ask(messages(server))
    assert answer.finish == finish


async def test_thoughts_and_pings_are_no_text(server, ask):
    """Thinking and events of later versions of the API are passed over."""
    thought = {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hmm"}}
    server.script(
        Behaviour(
            body=stream_of({"type": "ping"}, start(), thought, {"type": "new"}, text("42"), end("end_turn"), STOP)
        )
    )
    deltas, answer = await ask(messages(server))
    assert (deltas, answer.text, answer.estimated) == (["42"], "42", True)
    assert answer.usage.output == estimated_tokens(len("hmm42"))


async def test_a_whole_answer_is_as_good(server, ask):
    """A server that does not stream gives the same answer, in one delta."""
    server.script(Behaviour(whole=True, cached=1))
    deltas, answer = await ask(messages(server))
    assert deltas == ["hello wide world"]
    assert answer == Answer("hello wide world", Usage(3, 3, 1), "stop", "m")


@pytest.mark.parametrize("after", [1, 3])
async def test_half_an_answer_is_malformed_and_cost(server, refused, after):
    """Cut short, the input is as told and the output estimated."""
    server.script(Behaviour(cut_after=after))
    error = await refused(messages(server))
    assert error.kind is FailureKind.MALFORMED
    words = " ".join(["hello", "wide", "world"][:after])
    assert error.usage == Usage(3, estimated_tokens(len(words)))


async def test_a_stream_that_just_ends_is_half_an_answer(server, refused):
    """A stream that ends in good order, but says no reason, is malformed too."""
    server.script(Behaviour(body=stream_of(start(input_tokens=7), text("hi"))))
    error = await refused(messages(server))
    assert error.kind is FailureKind.MALFORMED
    assert "half an answer: it ended without a stop reason after 2 characters" in str(error)
    assert error.usage.input == 7


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"data: {broken\n\n", "text/event-stream"),
        (b'data: {"type": "message_delta", "usage": 7}\n\n', "text/event-stream"),
        (b"data: [DONE]\n\n", "text/event-stream"),
        (b"<html></html>", "text/html"),
        (b'{"hello": 1}', "application/json"),
        (b"", "application/json"),
    ],
)
async def test_what_is_no_answer_is_malformed(server, refused, body, content_type):
    """Broken JSON, web pages, other APIs and nothing at all are malformed."""
    server.script(Behaviour(body=body, content_type=content_type))
    error = await refused(messages(server))
    assert error.kind is FailureKind.MALFORMED
    assert str(error).startswith(f"{server.url}/messages sent ")
    assert error.usage == Usage()


@pytest.mark.parametrize(
    ("error_type", "kind"),
    [
        ("overloaded_error", FailureKind.UNAVAILABLE),
        ("api_error", FailureKind.UNAVAILABLE),
        ("rate_limit_error", FailureKind.RATE_LIMITED),
        ("invalid_request_error", FailureKind.INVALID),
        ("permission_error", FailureKind.UNAUTHORIZED),
    ],
)
async def test_an_error_in_the_stream_is_told(server, refused, error_type, kind):
    """An error event has its kind, the server's words, and what was used."""
    server.script(Behaviour(error_after=1, error_type=error_type, error="Overloaded"))
    error = await refused(messages(server))
    assert error.kind is kind
    assert str(error).endswith("broke off with an error: Overloaded")
    assert error.usage.input == 3


async def test_overloaded_is_unavailable(server, refused):
    """Anthropic's own status 529 asks to come later, or to go elsewhere."""
    server.script(
        Behaviour(status=529, error_type="overloaded_error", error="Overloaded", headers={"retry-after": "3"})
    )
    error = await refused(messages(server))
    assert (error.kind, error.retry_after_ns) == (FailureKind.UNAVAILABLE, 3_000_000_000)
    assert str(error) == f"{server.url}/messages answered 529 Status: Overloaded"


async def test_closing_early_hangs_up(server, hello):
    """``aclose`` closes the TCP connection, so that the server stops."""
    server.script(Behaviour(stall_after=1))
    async with aclosing(messages(server)) as model:
        async with aclosing(model.stream(hello)) as stream:
            assert await anext(stream) == Delta("hello")
        await asyncio.wait_for(server.calls[0].done.wait(), 5)
    assert server.calls[0].disconnected
