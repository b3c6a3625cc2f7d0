"""A real node, a real nats-server, a real HTTP server that misbehaves: each failure is told, and nothing is lost."""

import json
import os
import signal

import nats
import pytest
from servers.model_server import Behaviour, ModelServer

from callboard.actors.task_handle import TaskFailed
from callboard.bus.errors import LogFull, ServerError
from callboard.deploy.node import Node
from callboard.deploy.settings import Backend, Nats, Router, Settings, Telemetry
from callboard.events.money import Price
from callboard.events.task import Status
from callboard.projections.cost import COST

PRICE = Price(1_000_000, 2_000_000)


@pytest.fixture
async def model():
    async with ModelServer(Behaviour(text="all is well")) as server:
        yield server


@pytest.fixture
def settings(tmp_path, model):
    """A node with one backend at the model server, which gives up after two tries."""

    def of(url: str = model.url, **backend) -> Settings:
        one = Backend(provider="openai", model="scripted", url=url, price=PRICE, **backend)
        return Settings(
            data=str(tmp_path / "data"),
            router=Router(max_attempts=2),
            telemetry=Telemetry(traces="off"),
            backends={"one": one},
        )

    return of


@pytest.mark.parametrize(
    "trouble",
    [
        Behaviour(status=500, error="disk on fire"),
        Behaviour(status=429, headers={"retry-after": "1"}),
        Behaviour(text="half of it", cut_after=1),
        Behaviour(text="some of it", garbage_after=1),
        Behaviour(body=b"<html>not a model</html>", content_type="text/html"),
    ],
    ids=["500", "429", "half a stream", "garbage in the stream", "a web page"],
)
async def test_a_bad_answer_is_followed_by_a_good_one(settings, model, trouble):
    """The first call fails and says why in the log; the second one answers."""
    model.script(trouble)
    async with Node(settings()) as node:
        task = await node.board.submit("How is it?")
        outcome = await task.result(20)
        assert (outcome.output, outcome.calls) == ("all is well", 2)
        state = await task.state()
        assert state.failure is not None
        await node.projector.reached(await node.bus.log.end())
        assert node.projector.state(COST).total.calls == 2
        assert node.projector.state(COST).total.cost == outcome.cost
    assert [call.call_id for call in model.calls] == [f"{task.id}-1", f"{task.id}-2"]


async def test_an_unreachable_backend_ends_as_a_dead_letter(settings):
    """The reason names the address, and the task can be requeued."""
    async with Node(settings("http://127.0.0.1:9/v1")) as node:
        task = await node.board.submit("x")
        with pytest.raises(TaskFailed, match=r"gave up after 2 tries; the last one: can't reach http://127.0.0.1:9"):
            await task.result(20)
        await task.requeue()
        assert (await task.state()).status is not Status.DEAD


async def test_silence_before_the_first_token_times_out(settings, model):
    """A stalled call is given up, and made again."""
    model.script(Behaviour(before_first_token=60))
    async with Node(settings(first_token_timeout_ns=300_000_000)) as node:
        assert (await (await node.board.submit("x")).result(20)).output == "all is well"


async def test_cancelling_closes_the_connection(settings, model):
    """The model server sees the client leave, and what it had written is booked."""
    model.script(Behaviour(text="word " * 1000, between_tokens=0.05))
    async with Node(settings()) as node:
        task = await node.board.submit("x")
        async for _ in task.stream():
            break
        outcome = await task.cancel("seen enough")
        assert outcome.status is Status.CANCELLED
        async for _ in node.bus.log.follow(f"evt.*.task.{task.id}.spent"):
            break
        assert (await task.state()).cost > 0
    assert model.calls[0].disconnected


@pytest.mark.parametrize(("context", "status"), [(8192, "rejected"), (10_000_000, "completed")])
async def test_a_prompt_of_5_megabytes(settings, model, context, status):
    """Published on plain NATS, it reaches a model whose window is large enough, or is told that there is none."""
    async with Node(settings(context=context)) as node:
        client = await nats.connect(node.url)
        message = json.dumps({"input": "word " * 1_000_000}).encode()
        reply = json.loads((await client.request("submit.task", message, timeout=20)).data)
        await client.close()
    assert reply["status"] == status
    if status == "rejected":
        assert "1250005 tokens do not fit its window of 8192" in reply["reason"]
    else:
        assert model.calls[0].messages == ["word " * 1_000_000]


async def test_a_full_log_refuses_and_evicts_nothing(settings):
    """A submission that no longer fits is told so; what was stored is still there."""
    full = settings()
    full = Settings(data=full.data, nats=Nats(max_bytes=400_000), telemetry=full.telemetry, backends=full.backends)
    async with Node(full) as node:
        first = await node.board.submit("x" * 1000)
        await first.result(20)

        async def fill() -> None:
            for _ in range(1000):
                await node.board.submit(os.urandom(8000).hex(), timeout_s=3600, delay_s=1800)

        with pytest.raises(LogFull):
            await fill()
        assert (await first.state()).status is Status.COMPLETED


async def test_a_second_node_on_the_folder_is_refused(settings):
    """The error names the folder and who holds it."""
    async with Node(settings()):
        with pytest.raises(ServerError, match=f"{os.getpid()}|in use|holds"):
            await Node(settings()).start()


async def test_the_server_is_killed_under_a_task(settings, model):
    """nats-server dies while a model is answering: the answer is stored when it is back."""
    model.script(Behaviour(text="it took a while", before_first_token=0.5))
    async with Node(settings()) as node:
        task = await node.board.submit("x")
        while not model.calls:
            await node.bus.log.end()
        os.kill(node.server_pid, signal.SIGKILL)
        assert (await task.result(20)).output == "it took a while"
        assert len(model.calls) == 1


async def test_what_was_accepted_before_a_stop_is_done_after_it(settings, model):
    """A node that is stopped and started again goes on where it was."""
    async with Node(settings(), roles=("intake",)) as node:
        task = await node.board.submit("x")
    async with Node(settings()) as node:
        again = await node.board.task(task.id)
        assert (await again.result(20)).output == "all is well"


async def test_traces_are_written_as_otlp_json_lines(settings, model, tmp_path):
    """One task is one trace in the data folder's file, from the submission to the HTTP call."""
    quiet = settings()
    async with Node(Settings(data=quiet.data, backends=quiet.backends)) as node:
        await (await node.board.submit("x")).result(20)
    lines = (tmp_path / "data" / "traces.jsonl").read_text().splitlines()
    spans = [
        span
        for line in lines
        for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]
    assert len({span["traceId"] for span in spans}) == 1
    by_id = {span["spanId"]: span for span in spans}
    post = next(span for span in spans if span["name"] == "POST")
    chat = by_id[post["parentSpanId"]]
    assert chat["name"] == "chat scripted"
    assert by_id[chat["parentSpanId"]]["name"].startswith("invoke_workflow")
