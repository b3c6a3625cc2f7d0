"""Agents live through deploys: their handlers are changed while they are in the middle of it."""

import asyncio
import sys
from collections import Counter
from pathlib import Path

import pytest
from servers import agent_host
from servers.troupe import Process

from callboard.actors.board import Board
from callboard.bus import jetstream
from callboard.bus.server import EmbeddedServer
from callboard.bus.subjects import entity
from callboard.events.agent_events import Began, Finished, Stepped
from callboard.events.agent_names import id_of
from callboard.events.envelope import decode

CLERKS = 50
HOST = Path(agent_host.__file__)
THIRD = {"send", "read twice", "weigh", "open", "sign"}


async def events(bus, name: str) -> list:
    records = await bus.log.read(entity("agent", id_of(name)))
    return [envelope.event for record in records for envelope in decode(record.data)]


async def most_have(board: Board, step: str, page: Path) -> None:
    """Returns when most clerks have done the step, and some have not."""
    async with asyncio.timeout(30):
        while not page.exists() or page.read_text().count(f" {step}\n") < CLERKS * 2 // 3:
            await asyncio.sleep(0.02)


@pytest.mark.timeout(90)
async def test_fifty_running_agents_live_through_two_deploys(tmp_path):
    """Steps are added, renamed, put in another order, removed: all finish, and what is done is not done again."""
    page = tmp_path / "page"
    async with EmbeddedServer(tmp_path / "nats") as server:

        def host(version: str) -> Process:
            place = ("--url", server.url, "--host", version, "--page", str(page))
            file = HOST.parent / "clerks" / f"{version}.py"
            log = tmp_path / f"{version}.log"
            return Process(sys.executable, str(HOST), *place, "--file", str(file), cwd=tmp_path, log=log)

        bus = await jetstream.connect(server.url)
        board = Board(bus, "audience")
        running = host("first")
        await running.start()
        sent = [await board.send(f"clerk/{number}", number) for number in range(CLERKS)]
        for step, version in (("read", "second"), ("read twice", "third")):
            await most_have(board, step, page)
            newer = host(version)
            await newer.start()
            await running.stop()
            running = newer
        answers = await asyncio.gather(*(message.result(30) for message in sent))
        await running.stop()

        ran = Counter(tuple(line.split(" ", 3)[1::2]) for line in page.read_text().splitlines())
        origins: Counter[str] = Counter()
        for number, answer in enumerate(answers):
            history = await events(bus, f"clerk/{number}")
            assert sum(isinstance(event, Finished) for event in history) == 1
            assert set(answer) == THIRD
            origins += _audited(f"clerk/{number}", history, answer, ran)
        print(origins)
        assert all(origins[each] for each in ("first open", "second read twice", "second weigh", "third sign"))
        assert origins["third sign"] == CLERKS
        await board.aclose()
        await bus.aclose()


def _audited(name: str, history: list, answer: dict[str, str], ran: Counter) -> Counter[str]:
    """Each step ran as often as it began, or less, and not after its end; its result is that of its first end."""
    began, ended = Counter(), {}
    for event in history:
        if isinstance(event, Began):
            assert event.step not in ended, f"{name}: {event.step} began again after its end"
            began[event.step] += 1
        elif isinstance(event, Stepped):
            assert event.step not in ended
            ended[event.step] = event.value.json
    for step, times in began.items():
        assert ran[name, step] <= times
    assert answer == {step: ended[step] for step in THIRD}
    return Counter(answer.values())
