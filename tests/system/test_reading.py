"""Tasks that read a context, on a real nats-server, with every kind of provider, and a node that is started again."""

import asyncio

import pytest
from servers import nats_binary
from servers.callable_prompts import HEARD
from servers.model_server import Behaviour, ModelServer

import callboard
from callboard.deploy.node import Node
from callboard.deploy.settings import Backend, Settings, Telemetry
from callboard.events.chat import Message, ToolCall
from callboard.events.context import Say
from callboard.events.money import Price
from callboard.events.prompt import SUMMARY

PRICE = Price(1_000_000, 2_000_000)
LONG = "a long story " * 10_000
CALLS = (ToolCall("c1", "weather", '{"town": "Rome"}'), ToolCall("c2", "weather", '{"town": "Oslo"}'))


@pytest.fixture
async def model():
    async with ModelServer(Behaviour(text="all is well")) as server:
        yield server


@pytest.fixture
def settings(tmp_path, model):
    """A node with a backend of each kind."""
    common = {"price": PRICE, "context": 100_000}
    return Settings(
        data=str(tmp_path / "data"),
        telemetry=Telemetry(traces="off"),
        backends={
            "chat": Backend(provider="openai", model="m", url=model.url, **common),
            "text": Backend(provider="openai", model="m", url=model.url, api="completions", **common),
            "claude": Backend(provider="anthropic", model="m", url=model.url, **common),
            "function": Backend(provider="callable", function="servers.callable_prompts:remembers", **common),
        },
    )


async def tell(board) -> None:
    """A conversation with a summary, a value in the blob store, and two calls whose answers came late and mixed up."""
    talk = board.context("talk")
    await talk.say("Hello.")
    await talk.say("Hello! How can I help?", role="assistant")
    await talk.compact(0, 1, "They greeted each other.")
    await talk.say(LONG)
    await talk.change(Say("assistant", "Let me see.", CALLS))
    await talk.say("Quick, please.")
    await talk.change(Say("tool", "rain", tool_call_id="c2"), Say("tool", "sunny", tool_call_id="c1"))


TOLD = (
    Message("system", "Be brief."),
    Message("user", f"{SUMMARY}They greeted each other."),
    Message("user", LONG),
    Message("assistant", "Let me see.", CALLS),
    Message("tool", "rain", tool_call_id="c2"),
    Message("tool", "sunny", tool_call_id="c1"),
    Message("user", "Quick, please."),
    Message("user", "Well?"),
)


async def test_every_provider_is_told_all_of_it(settings, model):
    """In the words of its API: calls, answers, summaries, what lies in the blob store, and the task's own text last."""
    await nats_binary.needed()
    async with Node(settings) as node:
        await tell(node.board)
        for backend in ("chat", "text", "claude", "function"):
            task = await node.board.submit("Well?", system="Be brief.", context="talk", backend=backend)
            await task.result(20)
    assert HEARD[-1] == TOLD
    chat, text, claude = (call.body for call in model.calls)
    assert [message["role"] for message in chat["messages"]] == [message.role for message in TOLD]
    assert [call["id"] for call in chat["messages"][3]["tool_calls"]] == ["c1", "c2"]
    assert chat["messages"][4] == {"role": "tool", "content": "rain", "tool_call_id": "c2"}
    assert 'Let me see.\nweather({"town": "Rome"})\nweather({"town": "Oslo"})\n\nTool: rain' in text["prompt"]
    assert claude["system"] == "Be brief."
    assert claude["tool_choice"] == {"type": "none"}
    assert [[part["type"] for part in turn["content"]] for turn in claude["messages"]] == [
        ["text", "text"],
        ["text", "tool_use", "tool_use"],
        ["tool_result", "tool_result", "text", "text"],
    ]


@pytest.mark.filterwarnings("ignore:no node runs:RuntimeWarning")
async def test_what_was_accepted_is_read_whenever_it_is_done(settings):
    """Submitted while no node works, it reads the version of then, whatever was said before one does."""
    await nats_binary.needed()
    async with Node(settings) as node:
        await tell(node.board)
        version = (await node.board.contexts.state("talk")).version
    asked = {"system": "Be brief.", "backend": "function"}
    async with callboard.connect(data=settings.data) as board:
        task = await board.submit("Well?", context="talk", **asked)
        await board.context("talk").say("Too late.")
        assert (await task.state()).spec.context == f"talk@{version}"
        again = await board.submit("Well?", context=f"talk@{version}", **asked)
    async with Node(settings) as node:
        for handle in (task, again):
            await (await node.board.task(handle.id)).result(20)
            assert HEARD[-1] == TOLD


async def test_many_say_and_ask_at_a_time(settings):
    """Each task reads all that was there when it was accepted, and no more, while others go on talking."""
    await nats_binary.needed()
    async with Node(settings) as node:
        talk = node.board.context("busy")

        async def ask(number: int) -> None:
            at = await talk.say(f"{number}")
            task = await node.board.submit("?", context="busy", backend="function", tags=[str(number)])
            outcome = await task.result(20)
            spec = (await task.state()).spec
            read = int(spec.context.partition("@")[2])
            assert read >= at
            assert int(outcome.output) == spec.shown.messages + 1 == read + 1

        await asyncio.gather(*(ask(number) for number in range(30)))
