"""Messages to agents from anything that speaks NATS."""

import asyncio
import json

import pytest

from callboard.actors.agents.definition import agent
from callboard.actors.agents.message_desk import MessageDesk


@agent("echo")
async def echo(turn, message: str):
    """Says it again."""
    return message.upper()


@pytest.fixture
async def ask(theatre):
    """Publishes a message as a plain client does, and returns so many replies."""
    desk = MessageDesk(theatre.bus, "messages")
    running = asyncio.create_task(desk.run())
    await desk.listening.wait()
    await theatre.host(echo)

    async def asked(message: dict | bytes, replies: int = 1) -> list[dict]:
        heard: asyncio.Queue = asyncio.Queue()

        async def hear(note):
            heard.put_nowait(json.loads(note.data))

        inbox = theatre.bus.signals.inbox()
        await theatre.bus.signals.subscribe(inbox, hear)
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        await theatre.bus.signals.publish("submit.message", data, reply=inbox)
        async with asyncio.timeout(5):
            return [await heard.get() for _ in range(replies)]

    yield asked
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_plain_request_is_answered_with_the_answer(theatre, ask):
    """The reply has the agent, the message, and the answer."""
    (reply,) = await ask({"agent": "echo/1", "body": "hello", "by": "ann"})
    assert (reply["agent"], reply["answer"]) == ("echo/1", "HELLO")
    assert (await theatre.events("echo/1"))[0].by == "ann"


async def test_a_receipt_can_be_had_first(ask):
    """It has the id of the message."""
    (receipt,) = await ask({"agent": "echo/1", "body": "hello", "reply": "accepted"})
    assert receipt["status"] == "accepted"
    assert receipt["message"]


async def test_the_same_key_is_the_same_message(theatre, ask):
    """It is handled once, and answered each time."""
    message = {"agent": "echo/1", "body": "hello", "key": "k"}
    answers = [(await ask(message))[0]["answer"] for _ in range(3)]
    assert answers == ["HELLO"] * 3
    assert (await theatre.history("echo/1")).count("received") == 1


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"{", 'not JSON: Input data was truncated; send one JSON object such as {"agent": "greeter/ann"'),
        ({"agent": "ecko", "body": 1}, "nobody serves agents called 'ecko': did you mean 'echo'?"),
        ({"agent": "a b", "body": 1}, "agent 'a b' is no name for a definition"),
        ({"agent": "echo", "bdy": 1}, "unknown field 'bdy'; did you mean 'body'?"),
    ],
)
async def test_what_is_wrong_is_said(ask, message, why):
    """In one line."""
    (refused,) = await ask(message)
    assert refused["status"] == "refused"
    assert refused["reason"].startswith(why)


async def test_a_refused_message_is_answered_with_its_failure(ask):
    """As any failure of the agent's."""
    (reply,) = await ask({"agent": "echo", "body": 5})
    assert reply["failure"]["message"] == "agent echo can't take this message: Expected `str`, got `int`"
