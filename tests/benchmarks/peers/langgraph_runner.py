"""LangGraph with its SQLite saver, in this process, with the durability ``sync``: a checkpoint before the next step.

A step is a node that comes again until all are done. A hand-off is a ``Command(goto=…)`` from one agent's node to
another's, and back, as its supervisors and swarms do. ``storage`` adds each step's result to a list of messages, as
conversations are kept; ``--channel delta`` has that in a ``DeltaChannel`` (in beta).
"""

import argparse
import operator
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, TypedDict

from langgraph.channels import DeltaChannel
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command
from measuring import SMALL, Clock, Ledger, answer, between, growth, payload, run, there_and_back

PAUSE_S = 0.005
SYNCHRONOUS = ("OFF", "NORMAL", "FULL", "EXTRA")

seen: list[str] = []
"""How its connection to SQLite is set."""


class Counting(TypedDict):
    """State that stays small."""

    done: int
    last: str


class Talking(TypedDict):
    """State that grows."""

    done: int
    messages: Annotated[list, operator.add]


class TalkingByDeltas(TypedDict):
    """The same, by a reducer that takes several writes at a time."""

    done: int
    messages: Annotated[list, DeltaChannel(lambda said, writes: sum(writes, said))]


@contextmanager
def saver(asked: argparse.Namespace) -> Iterator[SqliteSaver]:
    """The saver as its own `from_conn_string` makes it; relaxed: synced at checkpoints of the WAL only."""
    connection = sqlite3.connect(asked.folder / "checkpoints.sqlite", check_same_thread=False)
    if asked.sync == "relaxed":
        connection.execute("PRAGMA synchronous=NORMAL")
    made = SqliteSaver(connection)
    made.setup()
    (journal,) = connection.execute("PRAGMA journal_mode").fetchone()
    (synchronous,) = connection.execute("PRAGMA synchronous").fetchone()
    seen.append(f"SQLite, journal_mode {journal.upper()}, synchronous {SYNCHRONOUS[synchronous]}, durability sync")
    yield made
    connection.close()


def invoke(graph: Any, asked: argparse.Namespace, begin: Any) -> Any:
    config = {"configurable": {"thread_id": "1"}, "recursion_limit": 10 * asked.count}
    return graph.invoke(begin, config, durability="sync")


def worked(asked: argparse.Namespace, state: type, step: Callable[[int], Any]) -> tuple[Clock, dict[str, Any]]:
    """Take the steps; when each began, and the state after them."""
    clock = Clock(asked.limit_s)

    def node(so_far: Any) -> dict[str, Any]:
        clock.mark()
        return {"done": so_far["done"] + 1} | step(so_far["done"])

    def onward(so_far: Any) -> str:
        return END if so_far["done"] == asked.count or clock.over else "step"

    builder = StateGraph(state)
    builder.add_node("step", node)
    builder.add_edge(START, "step")
    builder.add_conditional_edges("step", onward)
    with saver(asked) as checkpointer:
        graph = builder.compile(checkpointer=checkpointer)
        return clock, invoke(graph, asked, None if asked.again else {"done": 0})


def steps(asked: argparse.Namespace) -> None:
    clock, _ = worked(asked, Counting, lambda number: {"last": payload(number, asked.size)})
    answer("langgraph", seen[-1], **between(clock.marks))


def storage(asked: argparse.Namespace) -> None:
    state = {"list": Talking, "delta": TalkingByDeltas}[asked.channel]
    clock, found = worked(asked, state, lambda number: {"messages": [payload(number, asked.size)]})
    assert len(found["messages"]) == len(clock.marks)
    answer("langgraph", seen[-1], **growth(clock.marks, asked.folder, asked.size))


def recovery(asked: argparse.Namespace) -> None:
    ledger = Ledger(asked.ledger)

    def step(number: int) -> dict[str, str]:
        time.sleep(PAUSE_S)
        ledger.ran(number)
        return {"last": payload(number, SMALL)}

    worked(asked, Counting, step)


def handoffs(asked: argparse.Namespace) -> None:
    left, arrived, returned = list[float](), list[float](), list[float]()

    def boss(so_far: Counting) -> Command:
        if so_far["done"]:
            returned.append(time.perf_counter())
        if so_far["done"] == asked.count:
            return Command(goto=END)
        left.append(time.perf_counter())
        return Command(goto="scout", update={"last": payload(so_far["done"], SMALL)})

    def scout(so_far: Counting) -> Command:
        arrived.append(time.perf_counter())
        return Command(goto="boss", update={"last": so_far["last"][::-1], "done": so_far["done"] + 1})

    builder = StateGraph(Counting)
    builder.add_node("boss", boss, destinations=("scout", END))
    builder.add_node("scout", scout, destinations=("boss",))
    builder.add_edge(START, "boss")
    with saver(asked) as checkpointer:
        invoke(builder.compile(checkpointer=checkpointer), asked, {"done": 0})
    answer("langgraph", seen[-1], **there_and_back(left, arrived, returned))


if __name__ == "__main__":
    run({"steps": steps, "handoffs": handoffs, "storage": storage, "recovery": recovery})
