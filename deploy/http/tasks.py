"""Tasks over HTTP: submitted, looked at, waited for, cancelled."""

import asyncio
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from callboard.actors.board import Board
from callboard.actors.claim_check import shown_text
from callboard.actors.outcome import Outcome, outcome_of
from callboard.actors.submission import Submission, parse
from callboard.bus.entities import NEWEST, Loaded
from callboard.deploy.http.bells import Bells, rung
from callboard.deploy.http.doorkeeper import Doorkeeper
from callboard.deploy.http.limits import Limits
from callboard.deploy.http.problem import Refused
from callboard.deploy.http.reading import body_of, key_of, only, unless_gone, wait_of
from callboard.events import trace
from callboard.events.errors import InvalidId
from callboard.events.task import ENDED, Cancelled, Task
from callboard.events.task_spec import Blob


class TaskDesk:
    """Answers what is asked about tasks of ``board``."""

    def __init__(self, board: Board, bells: Bells, doorkeeper: Doorkeeper, limits: Limits) -> None:
        self._board = board
        self._bells = bells
        self._doorkeeper = doorkeeper
        self._limits = limits

    async def submit(self, request: Request) -> Response:
        """Take a task in: 202 as soon as it is in the log, or 200 when its outcome was waited for, and came.

        Who waits reads the answer, of a task that may be another's by its id or key: so that needs the scope as well.
        """
        self._doorkeeper.admit(request, "submit")
        only(request, "wait")
        wait_s, preferred = wait_of(request, self._limits.wait_s)
        if wait_s:
            try:
                self._doorkeeper.admit(request, "read")
            except Refused:
                if not preferred:
                    raise
                wait_s, preferred = 0.0, False
        submission = _with_headers(parse(await body_of(request, self._limits.body_s)), request)
        handle = await self._board.take(submission, waits=False)  # who does looks at the task: see Bells
        if wait_s:
            loaded = await unless_gone(request, self._ended(handle.id, wait_s))
        else:  # only one that was named may have been there before, and gone on elsewhere
            named = submission.key is not None or submission.id is not None
            loaded = await self._board.tasks.load(handle.id, at_least=NEWEST if named else 0)
        applied = {"preference-applied": f"wait={wait_s:g}"} if preferred else {}
        headers = {"location": f"/v1/tasks/{handle.id}", **_traced(loaded), **applied}
        if wait_s and loaded.state.status in ENDED:
            return await self._answer(loaded, 200, headers)
        return _json({"task": handle.id, "status": loaded.state.status}, 202, headers)

    async def show(self, request: Request) -> Response:
        """A task's status and, when it has ended, its outcome; with ``wait`` not before that, or so many seconds."""
        self._doorkeeper.admit(request, "read")
        only(request, "wait")
        wait_s, _ = wait_of(request, self._limits.wait_s)
        task_id = await known(self._board, request)
        if wait_s:
            loaded = await unless_gone(request, self._ended(task_id, wait_s))
        else:
            loaded = await self._board.tasks.load(task_id, at_least=NEWEST)
        return await self._answer(loaded, 200, _traced(loaded))

    async def cancel(self, request: Request) -> Response:
        """End a task unless it has ended; the outcome says how it did."""
        name = self._doorkeeper.admit(request, "cancel")
        only(request)
        task_id = await known(self._board, request)
        await self._board.end(task_id, Cancelled(f"cancelled by {name}, over HTTP"))
        loaded = await self._board.tasks.load(task_id)
        return _json({"task": task_id, "status": loaded.state.status}, 200, _traced(loaded))

    async def _ended(self, task_id: str, wait_s: float) -> Loaded[Task]:
        """The task as it is when it has ended, or after ``wait_s``, or when nobody should wait any more."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        with self._bells.of(task_id) as bell:
            while True:
                stopping = self._bells.stopping
                bell.clear()
                loaded = await self._board.tasks.load(task_id, at_least=NEWEST)
                left = deadline - loop.time()
                if loaded.state.status in ENDED or stopping or left <= 0:
                    return loaded
                await rung(bell, left)

    async def _answer(self, loaded: Loaded[Task], status: int, headers: dict[str, str]) -> Response:
        return _json(await whole_outcome(self._board, loaded.state), status, headers)


async def whole_outcome(board: Board, task: Task) -> Outcome:
    """The outcome with all of its text, however large."""
    outcome = await outcome_of(board.bus, task)
    if isinstance(outcome.output, Blob):
        return msgspec.structs.replace(outcome, output=await shown_text(board.bus, outcome.output))
    return outcome


async def known(board: Board, request: Request) -> str:
    """The id in the path, of a task that there is. Raises Refused."""
    task_id: str = request.path_params["task"]
    try:
        if (await board.tasks.load(task_id)).seq or (await board.tasks.load(task_id, at_least=NEWEST)).seq:
            return task_id
    except InvalidId:
        pass
    raise Refused(404, f"no task {task_id[:80]!r}")


def _with_headers(submission: Submission, request: Request) -> Submission:
    """With what headers say of it: the key, and the trace that it is part of."""
    key = key_of(request)
    if key is not None and submission.key not in (None, key):
        raise Refused(400, "the header Idempotency-Key and the field key are not the same: leave one out")
    traceparent = submission.traceparent or request.headers.get("traceparent", "")
    return msgspec.structs.replace(submission, key=submission.key if key is None else key, traceparent=traceparent)


def _traced(loaded: Loaded[Task]) -> dict[str, str]:
    """The trace context of the task, for whoever goes on from there."""
    context: trace.SpanContext | None = loaded.context
    return {"traceparent": context.traceparent} if context else {}


def _json(value: Any, status: int, headers: dict[str, str]) -> Response:
    return Response(msgspec.json.encode(value), status, headers, "application/json")
