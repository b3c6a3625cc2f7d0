import json

import msgspec
import pytest
from servers.model_server import Behaviour

from callboard.actors.backend.providers.openai import OpenAICompatible
from callboard.actors.backend.providers.provider import Answer, FailureKind, Request
from callboard.events.chat import Message, Tool, ToolCall, Usage, estimated_tokens

SCHEMA = {"type": "object", "properties": {"yes": {"type": "boolean"}}}
WEATHER = Tool("weather", "The weather of a town", {"type": "object", "properties": {"town": {"type": "string"}}})


def chat(server, **options):
    return OpenAICompatible(server.url, "m", **options)


def stream_of(*events) -> bytes:
    lines = (event if isinstance(event, str) else json.dumps(event) for event in events)
    return "".join(f"data: {line}\n\n" for line in lines).encode()


def delta(finish=None, **content):
    return {"choices": [{"index": 0, "delta": content, "finish_reason": finish}]}


async def test_an_answer_streams(server, ask):
    """Tokens are deltas as they come; the answer has their text, the server's usage, finish and model."""
    server.script(Behaviour(cached=2))
    deltas, answer = await ask(chat(server))
    assert deltas == ["hello", " wide", " world"]
    assert answer == Answer("hello wide world", Usage(input=3, output=3, cached=2), "stop", "m")
    assert server.calls[0].finished


@pytest.mark.parametrize("size", [1, 3, 7])
async def test_where_the_network_cuts_does_not_matter(server, ask, size):
    """Events and characters that arrive in pieces give the same answer."""
    server.script(Behaviour(text="héllo wörld 🎭 →", piece_size=size))
    deltas, answer = await ask(chat(server))
    assert "".join(deltas) == answer.text == "héllo wörld 🎭 →"


async def test_the_request_is_told_whole(server, ask):
    """Everything of a request has its place in the body."""
    request = Request(
        messages=(
            Message("system", "be brief"),
            Message("user", "weather in Rome?"),
            Message("assistant", "", (ToolCall("c1", "weather", '{"town": "Rome"}'),)),
            Message("tool", "sunny", tool_call_id="c1"),
        ),
        max_tokens=9,
        temperature=0.0,
        seed=7,
        stop=("END",),
        schema=SCHEMA,
        tools=(WEATHER,),
    )
    await ask(chat(server), request)
    assert server.calls[0].body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "weather in Rome?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"town": "Rome"}'},
                    }
                ],
            },
            {"role": "tool", "content": "sunny", "tool_call_id": "c1"},
        ],
        "tools": [{"type": "function", "function": msgspec.to_builtins(WEATHER)}],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
        },
        "max_tokens": 9,
        "temperature": 0.0,
        "seed": 7,
        "stop": ["END"],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_what_is_not_given_is_not_sent(server, ask):
    """A bare request leaves everything to the server."""
    await ask(chat(server))
    assert server.calls[0].body.keys() == {"model", "messages", "stream", "stream_options"}


async def test_tool_calls_are_put_together(server, ask):
    """Arguments that come in pieces, of several calls, are whole in the answer."""
    calls = (("c1", "weather", '{"town": "Rome"}'), ("c2", "weather", '{"town": "Oslo"}'))
    server.script(Behaviour(text="", tool_calls=calls))
    deltas, answer = await ask(chat(server))
    assert (deltas, answer.finish) == ([], "tool_calls")
    assert answer.tool_calls == tuple(ToolCall(*call) for call in calls)


async def test_careless_tool_calls_are_understood(server, ask):
    """Calls without index or id, with the same index, or with an object as arguments are told apart."""

    def call(**fields):
        return delta(tool_calls=[fields])

    server.script(
        Behaviour(
            body=stream_of(
                call(index=0, id="a", function={"name": "f", "arguments": "{}"}),
                call(index=0, id="b", function={"name": "g", "arguments": {"x": 1}}),
                call(index=1, function={"name": "h", "arguments": None}),
                call(index=1, function={"name": "h", "arguments": "[]"}),
                delta("tool_calls"),
                "[DONE]",
            )
        )
    )
    _, answer = await ask(chat(server))
    assert answer.tool_calls == (
        ToolCall("a", "f", "{}"),
        ToolCall("b", "g", '{"x":1}'),
        ToolCall("call-1-2", "h", "[]"),
    )


async def test_usage_that_is_not_told_is_estimated(server, ask):
    """A server that leaves usage out is estimated, and the answer says so."""
    server.script(Behaviour(text="one two", usage=False))
    _, answer = await ask(chat(server))
    assert answer.estimated
    assert answer.usage == Usage(estimated_tokens(len("hello wide world")), estimated_tokens(len("one two")))


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}, Usage(9, 2, 4)),
        ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_cache_hit_tokens": 5}, Usage(9, 2, 5)),
        ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": None}, Usage(9, 2)),
        ({"prompt_tokens": 9, "completion_tokens": -2, "prompt_tokens_details": {"cached_tokens": 99}}, Usage(9, 0, 9)),
    ],
)
async def test_usage_is_read_as_servers_tell_it(server, ask, usage, expected):
    """Cached tokens have two names; nonsense can't make a price negative; the last usage counts."""
    early = {"usage": {"prompt_tokens": 1, "completion_tokens": 1}}
    server.script(Behaviour(body=stream_of(delta(content="x") | early, delta("stop"), {"choices": [], "usage": usage})))
    _, answer = await ask(chat(server))
    assert (answer.usage, answer.estimated) == (expected, False)


async def test_thoughts_are_tokens_but_no_text(server, ask):
    """Reasoning keeps the first deadline, and is not part of the answer."""
    body = stream_of(delta(reasoning_content="hmm"), delta(reasoning="so"), delta(content="42"), delta("stop"))
    server.script(Behaviour(body=body))
    deltas, answer = await ask(chat(server))
    assert (deltas, answer.text) == (["42"], "42")
    assert answer.usage.output == estimated_tokens(len("hmmso42"))


@pytest.mark.parametrize("after", [0, 1, 3])
async def test_half_an_answer_is_malformed_and_cost(server, refused, after):
    """A connection that is closed before a finish reason is an error that tells what was used."""
    server.script(Behaviour(cut_after=after))
    error = await refused(chat(server))
    assert error.kind is FailureKind.MALFORMED
    assert str(error).startswith(f"{server.url}/chat/completions broke off in mid-answer")
    assert error.usage.input == estimated_tokens(len("hello wide world"))
    assert bool(error.usage.output) == bool(after)


async def test_a_stream_that_just_ends_is_half_an_answer(server, refused):
    """A stream that ends in good order, but says no reason, is malformed too."""
    server.script(Behaviour(body=stream_of(delta(content="one two"))))
    error = await refused(chat(server))
    assert error.kind is FailureKind.MALFORMED
    assert "half an answer: it ended without a finish reason after 7 characters" in str(error)


async def test_done_is_an_end(server, ask):
    """``[DONE]`` without a finish reason is an answer that stopped."""
    server.script(Behaviour(body=stream_of(delta(content="hi"), "[DONE]")))
    _, answer = await ask(chat(server))
    assert (answer.text, answer.finish) == ("hi", "stop")


@pytest.mark.parametrize(
    ("body", "content_type", "reason"),
    [
        (b"data: {broken\n\n", "text/event-stream", "sent what is not a completion"),
        (b'data: {"choices": 7}\n\n', "text/event-stream", "sent what is not a completion"),
        (b"data: [DONE]\n\n", "text/event-stream", "sent an answer without a choice"),
        (b"<html>\n<p>hello</p></html>", "text/html", "sent no events but text/html: <html> <p>hello</p></html>"),
        (b"", "text/event-stream", "sent no events but text/event-stream: nothing"),
        (b"", "application/json", "sent what is not a completion"),
        (b"\xff{}", "application/json", "sent what is not a completion"),
        (b'{"hello": 1}', "application/json", "sent an answer without a choice"),
    ],
)
async def test_what_is_no_answer_is_malformed(server, refused, body, content_type, reason):
    """Broken JSON, web pages and nothing at all are told apart and shown."""
    server.script(Behaviour(body=body, content_type=content_type))
    error = await refused(chat(server))
    assert error.kind is FailureKind.MALFORMED
    assert reason in str(error)


async def test_garbage_in_mid_answer_is_malformed(server, refused):
    """An event that is no JSON ends the call, with what was used."""
    server.script(Behaviour(garbage_after=2))
    error = await refused(chat(server))
    assert error.kind is FailureKind.MALFORMED
    assert error.usage.output > 0


@pytest.mark.parametrize(
    ("error_type", "kind"),
    [
        ("rate_limit_exceeded", FailureKind.RATE_LIMITED),
        ("server_error", FailureKind.UNAVAILABLE),
        ("invalid_request_error", FailureKind.INVALID),
    ],
)
@pytest.mark.parametrize("after", [0, 1])
async def test_an_error_in_the_stream_is_told(server, refused, error_type, kind, after):
    """An error object within a stream has its kind, the server's words, and what was used."""
    server.script(Behaviour(error_after=after, error_type=error_type, error="too much"))
    error = await refused(chat(server))
    assert error.kind is kind
    assert str(error).endswith("broke off with an error: too much")
    assert error.usage.input > 0


@pytest.mark.parametrize("event", [{"error": "out of memory"}, {"object": "error", "message": "out of memory"}])
async def test_errors_have_several_shapes(server, refused, event):
    """A bare text, or vLLM's object, is an error too, streamed or as the whole body."""
    server.script(
        Behaviour(body=stream_of(event)), Behaviour(body=json.dumps(event).encode(), content_type="application/json")
    )
    for _ in range(2):
        error = await refused(chat(server))
        assert error.kind is FailureKind.UNAVAILABLE
        assert str(error).endswith("out of memory")


async def test_a_refusal_tells_when_to_come_back(server, refused):
    """429 with Retry-After: rate limited, and for how long."""
    server.script(Behaviour(status=429, headers={"Retry-After": "2"}, error="slow down"))
    error = await refused(chat(server))
    assert (error.kind, error.retry_after_ns) == (FailureKind.RATE_LIMITED, 2_000_000_000)
    assert str(error) == f"{server.url}/chat/completions answered 429 Too Many Requests: slow down"


async def test_a_whole_answer_is_as_good(server, ask):
    """A server that does not stream gives the same answer, in one delta."""
    calls = (("c1", "weather", '{"town": "Rome"}'),)
    server.script(Behaviour(whole=True, tool_calls=calls))
    deltas, answer = await ask(chat(server))
    assert deltas == ["hello wide world"]
    assert answer == Answer("hello wide world", Usage(3, 3), "tool_calls", "m", (ToolCall(*calls[0]),))


async def test_a_server_that_knows_no_stream_options_is_asked_without(server, ask, hello):
    """The parameter a server refuses is left out, in this call and all later ones."""
    server.script(Behaviour(status=400, error="Unrecognized request argument supplied: stream_options"))
    model = chat(server)
    _, answer = await ask(model)
    assert answer.estimated
    assert ["stream_options" in call.body for call in server.calls] == [True, False]


async def test_a_server_with_another_name_for_the_limit_is_told_so(server, ask, hello):
    """``max_tokens`` is sent as ``max_completion_tokens`` to a server that wants it so."""
    server.script(
        Behaviour(status=400, error="Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
    )
    _, answer = await ask(chat(server), msgspec.structs.replace(hello, max_tokens=2))
    assert (answer.text, answer.finish) == ("hello wide", "length")
    assert server.calls[1].body["max_completion_tokens"] == 2
    assert "max_tokens" not in server.calls[1].body


@pytest.mark.parametrize("status", [400, 500])
async def test_a_server_whose_speakers_must_alternate_is_told_so(server, ask, status):
    """What one speaker says in a row is put together from then on, except for calls of tools and their answers."""
    refusal = Behaviour(status=status, error="Conversation roles must alternate user/assistant/user/assistant/...")
    call = Message("assistant", "", (ToolCall("c1", "weather", "{}"), ToolCall("c2", "weather", "{}")))
    answers = (Message("tool", "sunny", tool_call_id="c1"), Message("tool", "rain", tool_call_id="c2"))
    told = (Message("user", "I am Ann."), Message("user", "I am Bob."), call, *answers, Message("assistant", "Well."))
    server.script(refusal)
    await ask(chat(server), Request((*told, Message("user", "Who?"))))
    assert [message["role"] for message in server.calls[0].body["messages"]][:2] == ["user", "user"]
    assert server.calls[1].body["messages"][0] == {"role": "user", "content": "I am Ann.\n\nI am Bob."}
    roles = [message["role"] for message in server.calls[1].body["messages"]]
    assert roles == ["user", "assistant", "tool", "tool", "assistant", "user"]


async def test_speakers_that_alternate_are_not_sent_twice(server, refused):
    """Where nothing can be put together the refusal stands."""
    server.script(Behaviour(status=400, error="roles must alternate"))
    error = await refused(chat(server))
    assert error.kind is FailureKind.INVALID
    assert len(server.calls) == 1


async def test_completions_take_a_plain_prompt(server, ask, hello):
    """With the completions API a single message is the prompt as it stands."""
    deltas, answer = await ask(chat(server, api="completions"), msgspec.structs.replace(hello, stop=("\n",)))
    (call,) = server.calls
    assert call.path == "/v1/completions"
    assert (call.body["prompt"], call.body["stop"]) == ("hello wide world", ["\n"])
    assert deltas == ["hello", " wide", " world"]
    assert answer.usage == Usage(3, 3)


async def test_completions_join_a_conversation(server, ask):
    """Several messages become a text that the model goes on with, and that ends before the user's turn."""
    messages = (Message("system", "Be brief."), Message("user", "Hi"), Message("assistant", "Yo"), Message("user", "?"))
    await ask(chat(server, api="completions"), Request(messages=messages, schema=SCHEMA))
    (call,) = server.calls
    assert call.body["prompt"] == "Be brief.\n\nUser: Hi\n\nAssistant: Yo\n\nUser: ?\n\nAssistant:"
    assert call.body["stop"] == ["\nUser:"]
    assert call.body["json_schema"] == call.body["response_format"]["json_schema"]["schema"] == SCHEMA


async def test_completions_tell_what_tools_were_called(server, ask):
    """With their arguments, and what they said."""
    call = Message("assistant", "Let me see.", (ToolCall("c1", "weather", '{"town": "Rome"}'),))
    told = (Message("user", "Rome?"), call, Message("tool", "sunny", tool_call_id="c1"))
    await ask(chat(server, api="completions"), Request(told))
    assert server.calls[0].body["prompt"] == (
        'User: Rome?\n\nAssistant: Let me see.\nweather({"town": "Rome"})\n\nTool: sunny\n\nAssistant:'
    )


async def test_completions_take_no_tools(server, refused, hello):
    """Tools can't be offered in a plain prompt; the message says what to set."""
    error = await refused(chat(server, api="completions"), msgspec.structs.replace(hello, tools=(WEATHER,)))
    assert error.kind is FailureKind.INVALID
    assert "set it to chat" in str(error)
    assert server.calls == []


@pytest.mark.parametrize("ending", ["", "/", "/chat/completions"])
async def test_the_url_may_be_written_in_several_ways(server, ask, ending):
    """A trailing slash or the whole path do no harm."""
    await ask(OpenAICompatible(server.url + ending, "m"))
    assert server.calls[0].path == "/v1/chat/completions"
