"""DBOS on SQLite: workflows of steps, in this process.

A step is a ``DBOS.step``. A hand-off is a child workflow that the parent starts and whose result it waits for; by
``messages``, two workflows that live on and ``send`` and ``recv``. After a kill DBOS goes on by itself.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dbos import DBOS, SetWorkflowID
from measuring import SMALL, Clock, Ledger, answer, between, growth, payload, run, there_and_back
from sqlalchemy import event
from sqlalchemy.engine import Engine

PAUSE_S = 0.005
SYNCHRONOUS = ("OFF", "NORMAL", "FULL", "EXTRA")

seen: list[str] = []
"""How its connections to SQLite are set."""


@contextmanager
def launched(asked: argparse.Namespace) -> Iterator[None]:
    """DBOS on a database in the folder; relaxed: in WAL mode, which syncs at its checkpoints only."""

    @event.listens_for(Engine, "connect")
    def look(connection, _record):
        if asked.sync == "relaxed":
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
        (journal,) = connection.execute("PRAGMA journal_mode").fetchone()
        (synchronous,) = connection.execute("PRAGMA synchronous").fetchone()
        seen.append(f"SQLite, journal_mode {journal.upper()}, synchronous {SYNCHRONOUS[synchronous]}")

    url = f"sqlite:///{asked.folder / 'dbos.sqlite'}"
    DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR"})
    DBOS.launch()
    yield
    DBOS.destroy()


def worked(asked: argparse.Namespace, begin: Callable[[int], None]) -> tuple[Clock, list[str]]:
    """Take the steps; when each began, and what they gave."""
    clock, results = Clock(asked.limit_s), list[str]()

    @DBOS.step()
    def step(number: int) -> str:
        clock.mark()
        begin(number)
        return payload(number, asked.size)

    @DBOS.workflow()
    def work(count: int) -> None:
        for number in range(count):
            if clock.over:
                break
            results.append(step(number))

    with launched(asked):
        if not asked.again:
            with SetWorkflowID("worker"):
                work(asked.count)
        else:
            time.sleep(3600)  # it goes on by itself
    return clock, results


def steps(asked: argparse.Namespace) -> None:
    clock, _ = worked(asked, _nothing)
    answer("dbos", seen[-1], **between(clock.marks))


def storage(asked: argparse.Namespace) -> None:
    clock, results = worked(asked, _nothing)
    assert len(results) == len(clock.marks)
    answer("dbos", seen[-1], **growth(clock.marks, asked.folder, asked.size))


def recovery(asked: argparse.Namespace) -> None:
    ledger = Ledger(asked.ledger)

    def begin(number: int) -> None:
        time.sleep(PAUSE_S)
        ledger.ran(number)

    worked(asked, begin)


def handoffs(asked: argparse.Namespace) -> None:
    left, arrived, returned = list[float](), list[float](), list[float]()

    @DBOS.workflow()
    def scout(question: str) -> str:
        arrived.append(time.perf_counter())
        return question[::-1]

    @DBOS.workflow()
    def boss(count: int) -> None:
        for number in range(count):
            left.append(time.perf_counter())
            DBOS.start_workflow(scout, payload(number, SMALL)).get_result()
            returned.append(time.perf_counter())

    with launched(asked):
        boss(asked.count)
    answer("dbos", seen[-1], **there_and_back(left, arrived, returned))


def messages(asked: argparse.Namespace) -> None:
    left, arrived, returned = list[float](), list[float](), list[float]()

    @DBOS.workflow()
    def scout(count: int) -> None:
        for _ in range(count):
            question: Any = DBOS.recv("question", timeout_seconds=60)
            arrived.append(time.perf_counter())
            DBOS.send("boss", question[::-1], "answer")

    @DBOS.workflow()
    def boss(count: int) -> None:
        for number in range(count):
            left.append(time.perf_counter())
            DBOS.send("scout", payload(number, SMALL), "question")
            DBOS.recv("answer", timeout_seconds=60)
            returned.append(time.perf_counter())

    with launched(asked):
        with SetWorkflowID("scout"):
            DBOS.start_workflow(scout, asked.count)
        with SetWorkflowID("boss"):
            boss(asked.count)
    answer("dbos", seen[-1], **there_and_back(left, arrived, returned))


def _nothing(_number: int) -> None:
    pass


if __name__ == "__main__":
    run({"steps": steps, "handoffs": handoffs, "messages": messages, "storage": storage, "recovery": recovery})
