"""autogen-core: agents in one process that keep nothing on the disk, so this is what messages cost without durability.

A step is a message that an agent handles; a hand-off is a ``send_message`` from one agent to another, and its answer.
"""

import argparse
import asyncio
import time
from dataclasses import dataclass

from autogen_core import AgentId, MessageContext, RoutedAgent, SingleThreadedAgentRuntime, message_handler
from measuring import SMALL, Clock, answer, between, payload, run, there_and_back

NOTHING_KEPT = "none: nothing is kept"


@dataclass
class Work:
    """So much is to be done."""

    count: int


@dataclass
class Question:
    """One agent's to another."""

    text: str


class Boss(RoutedAgent):
    """Asks a scout, again and again."""

    def __init__(self, left: list[float], returned: list[float]) -> None:
        super().__init__("asks")
        self._left = left
        self._returned = returned

    @message_handler
    async def work(self, message: Work, ctx: MessageContext) -> None:
        for number in range(message.count):
            self._left.append(time.perf_counter())
            await self.send_message(Question(payload(number, SMALL)), AgentId("scout", "1"))
            self._returned.append(time.perf_counter())


class Scout(RoutedAgent):
    """Answers, and marks when it was asked."""

    def __init__(self, clock: Clock) -> None:
        super().__init__("answers")
        self._clock = clock

    @message_handler
    async def work(self, message: Question, ctx: MessageContext) -> Question:
        self._clock.mark()
        return Question(message.text[::-1])


async def steps(asked: argparse.Namespace) -> None:
    clock = Clock(asked.limit_s)
    runtime = SingleThreadedAgentRuntime()
    await Scout.register(runtime, "scout", lambda: Scout(clock))
    runtime.start()
    for number in range(asked.count):
        await runtime.send_message(Question(payload(number, asked.size)), AgentId("scout", "1"))
    await runtime.stop_when_idle()
    answer("autogen-core", NOTHING_KEPT, **between(clock.marks))


async def handoffs(asked: argparse.Namespace) -> None:
    clock, left, returned = Clock(asked.limit_s), list[float](), list[float]()
    runtime = SingleThreadedAgentRuntime()
    await Boss.register(runtime, "boss", lambda: Boss(left, returned))
    await Scout.register(runtime, "scout", lambda: Scout(clock))
    runtime.start()
    await runtime.send_message(Work(asked.count), AgentId("boss", "1"))
    await runtime.stop_when_idle()
    answer("autogen-core", NOTHING_KEPT, **there_and_back(left, clock.marks, returned))


if __name__ == "__main__":
    run({"steps": lambda asked: asyncio.run(steps(asked)), "handoffs": lambda asked: asyncio.run(handoffs(asked))})
