import asyncio
import threading
from contextlib import aclosing

import pytest

from callboard.actors.backend.providers.callable import CallableProvider, load
from callboard.actors.backend.providers.provider import Answer, Delta, FailureKind, ProviderError
from callboard.events.chat import ToolCall, Usage, estimated_tokens
from callboard.events.errors import InvalidInput


def plain(request):
    return request.messages[-1].content.upper()


async def waiting(request):
    await asyncio.sleep(0)
    return plain(request)


async def in_pieces(request):
    for word in plain(request).split(" "):
        yield word


class Later:
    async def __call__(self, request):
        return plain(request)


@pytest.mark.parametrize("function", [plain, waiting, Later()])
async def test_a_function_gives_the_answer(ask, function):
    """A text, awaited or not, is one delta and the answer, with estimated usage."""
    deltas, answer = await ask(CallableProvider(function, model="upper"))
    assert deltas == ["HELLO WIDE WORLD"]
    assert answer == Answer(
        "HELLO WIDE WORLD", Usage(estimated_tokens(16), estimated_tokens(16)), "stop", "upper", estimated=True
    )


async def test_an_iterator_gives_deltas(ask):
    """Each piece is a delta as it comes."""
    deltas, answer = await ask(CallableProvider(in_pieces))
    assert deltas == ["HELLO", "WIDE", "WORLD"]
    assert answer.text == "HELLOWIDEWORLD"


async def test_an_empty_answer_is_an_answer(ask):
    """No text: no delta, no output tokens."""
    deltas, answer = await ask(CallableProvider(lambda request: ""))
    assert (deltas, answer.text, answer.usage.output) == ([], "", 0)


async def test_what_it_raises_is_unavailable(refused):
    """The error names the function and its exception."""

    async def broken(request):
        yield "half"
        raise ValueError("no luck")

    error = await refused(CallableProvider(broken))
    assert error.kind is FailureKind.UNAVAILABLE
    assert str(error).endswith("broken raised ValueError: no luck")
    assert isinstance(error.__cause__, ValueError)
    assert error.usage.output == estimated_tokens(4)


async def test_its_own_provider_error_passes(refused):
    """A function may say itself why it fails."""
    limit = ProviderError(FailureKind.RATE_LIMITED, "not now", retry_after_ns=5)

    def busy(request):
        raise limit

    assert await refused(CallableProvider(busy)) is limit


async def test_anything_but_text_is_malformed(refused):
    """What is not a text is named by its type."""
    error = await refused(CallableProvider(lambda request: 42))
    assert error.kind is FailureKind.MALFORMED
    assert str(error).endswith("gave int, not str or ToolCall")


async def test_it_may_call_tools(ask):
    """Calls, with a text or without, are the answer's tool calls."""
    calls = (ToolCall("c1", "now", "{}"), ToolCall("c2", "add", '{"a": 1}'))
    answers = []
    for said in (calls[0], ["Let me see.", *calls]):
        _, answer = await ask(CallableProvider(lambda request, said=said: said))
        answers.append(answer)
    assert [(each.text, each.tool_calls, each.finish) for each in answers] == [
        ("", calls[:1], "tool_calls"),
        ("Let me see.", calls, "tool_calls"),
    ]


async def test_closing_closes_the_iterator(hello):
    """Who stops listening stops the function."""
    closed = asyncio.Event()

    async def endless(request):
        try:
            while True:
                yield "more"
        finally:
            closed.set()

    async with aclosing(CallableProvider(endless).stream(hello)) as stream:
        assert await anext(stream) == Delta("more")
    assert closed.is_set()


async def test_cancelling_cancels_the_function(hello):
    """A cancelled call is cancelled within the function."""
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def slow(request):
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    task = asyncio.ensure_future(anext(CallableProvider(slow).stream(hello)))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled.is_set()


async def test_functions_in_threads_hold_up_nobody(ask, refused):
    """As many as there are threads run at a time, while the loop goes on; what they give and raise is told the same."""
    both = threading.Barrier(2, timeout=10)

    def together(request):
        both.wait()
        return plain(request)

    provider = CallableProvider(together, threads=2)
    answers = await asyncio.gather(ask(provider), ask(provider))
    assert [answer.text for _, answer in answers] == ["HELLO WIDE WORLD"] * 2
    await provider.aclose()
    error = await refused(CallableProvider(lambda _: 1 / 0, threads=1))
    assert "raised ZeroDivisionError" in str(error)
    assert (await ask(CallableProvider(waiting, threads=1)))[0] == ["HELLO WIDE WORLD"]
    assert (await ask(CallableProvider(in_pieces, threads=1)))[0] == ["HELLO", "WIDE", "WORLD"]


def test_load_finds_a_function():
    """A reference is a module, a colon, and a name within it."""
    assert load("callboard.actors.backend.providers.callable:load") is load
    assert load("builtins:str.upper") is str.upper


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("json.loads", "write it as package.module:function"),
        (":loads", "write it as package.module:function"),
        ("json:", "write it as package.module:function"),
        ("no.such.module:f", "module no.such.module can't be imported: ModuleNotFoundError"),
        (".relative:f", "can't be imported: TypeError"),
        ("json:nothing", "module json has no nothing"),
        ("json:__doc__", "__doc__ is str, which can't be called"),
    ],
)
def test_load_says_what_is_wrong(reference, reason):
    """Each mistake has its message."""
    with pytest.raises(InvalidInput) as caught:
        load(reference)
    assert repr(reference) in str(caught.value)
    assert reason in str(caught.value)
