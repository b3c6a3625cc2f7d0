"""What is found of an answer, before anybody sees it."""

import asyncio
import http.server
import threading

import pytest

from callboard.actors.backend.verification import verified
from callboard.actors.checks import BUILT_IN, Check, found_by
from callboard.actors.json_schema import check_schema, fits
from callboard.events.cascade import Answered, Declined
from callboard.events.chat import ToolCall, Usage
from callboard.events.errors import InvalidInput
from callboard.events.task import Completed, Evaluated
from callboard.events.task_spec import TaskSpec

AGE = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
DONE = Completed("a", 2, "", Usage(1, 2), 3, "m", duration=9)


async def test_an_answer_without_a_schema_is_taken_as_it_is():
    """There is nothing to verify."""
    assert await verified(DONE, "anything", TaskSpec("x"), "", BUILT_IN) == (DONE, [])


@pytest.mark.parametrize(
    ("text", "score", "note"),
    [
        ('{"age": 7}', 1_000_000, ""),
        ('{"age": "7"}', 0, "does not fit its schema: $.age: '7' is not of type 'integer'"),
        ("{}", 0, "does not fit its schema: $: 'age' is a required property"),
        ('```json\n{"age": 7}\n```', 0, "not JSON: JSON is malformed: invalid character (byte 0)"),
        ("", 0, "not JSON: Input data was truncated"),
    ],
)
async def test_whether_an_answer_fits_its_schema_is_a_score(text, score, note):
    """Of the source `schema`, with the reason, beside the completion; without a cascade the answer is used anyway."""
    end, judged = await verified(DONE, text, TaskSpec("x", schema=AGE), "", BUILT_IN)
    assert end == DONE
    assert judged == [Evaluated("a", 2, score, "schema", note)]


async def test_wishes_to_call_tools_are_no_text_to_verify():
    """Nothing is said of them, in a cascade or out of it."""
    calls = Completed("a", 2, "", Usage(), 0, "m", tool_calls=(ToolCall("1", "f", "{}"),))
    for check in ("", "schema", "judge"):
        assert await verified(calls, "", TaskSpec("x", schema=AGE), check, BUILT_IN) == (calls, [])


async def test_an_answer_that_does_not_fit_is_not_shown_to_a_judge():
    """It is set aside and declined in one message, whatever the check is."""
    for check in ("schema", "judge"):
        end, judged = await verified(DONE, "{}", TaskSpec("x", schema=AGE), check, BUILT_IN)
        assert end == Answered("a", 2, "", Usage(1, 2), 3, "m", duration=9, scores={"schema": 0})
        assert judged == [Declined("a", 2, 0, "does not fit its schema: $: 'age' is a required property")]
    end, judged = await verified(DONE, '{"age": 1}', TaskSpec("x", schema=AGE), "judge", BUILT_IN)
    assert (end.scores, judged) == ({"schema": 1_000_000}, [])


async def test_a_check_that_this_worker_does_not_know_verifies_nothing():
    """The answer is used, without a score: that it is bad, nobody knows."""
    assert await verified(DONE, "x", TaskSpec("x"), "mine", BUILT_IN) == (DONE, [])


async def test_checks_may_wait_and_must_end():
    """An async function is awaited; one that hangs, plain or not, is given up."""

    async def waits(answer: str) -> bool:
        await asyncio.sleep(0)
        return answer == "yes"

    async def hangs(_: str) -> bool:
        await asyncio.Event().wait()
        return True

    assert (await found_by(waits, "yes")).score == 1_000_000
    assert (await found_by(waits, "no")).score == 0
    found = await found_by(hangs, "x", timeout_s=0.01)
    assert found.score == 0
    assert found.note.endswith("hangs did not end within 0.01 s")
    checks = BUILT_IN | {"hangs": Check(700_000, waits)}
    end, judged = await verified(DONE, "yes", TaskSpec("x"), "hangs", checks)
    assert (end, [event.source for event in judged]) == (DONE, ["cascade"])


@pytest.mark.parametrize(
    "schema", [{"type": 7}, {"properties": []}, {"$schema": "https://json-schema.org/draft-07/schema", "type": "x"}]
)
def test_what_is_no_schema_is_refused(schema):
    """One line says where it is wrong."""
    with pytest.raises(InvalidInput, match=r"^schema is not a JSON Schema: \$[^\n]*$"):
        check_schema(schema)


def test_a_reference_is_never_followed_to_the_network():
    """It can't be applied, so it is no fault of the answer; one inside the schema is followed."""
    asked = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

    with http.server.HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert fits({"$ref": f"http://127.0.0.1:{server.server_port}/schema"}, "1") is None
        server.shutdown()
    assert asked == []
    inside = {"$defs": {"n": {"type": "integer"}}, "$ref": "#/$defs/n"}
    assert fits(inside, "1").score == 1_000_000
    assert fits(inside, '"1"').score == 0


def test_a_schema_without_an_end_is_no_fault_of_the_answer():
    """A schema that refers to itself for ever is given up."""
    assert fits({"$ref": "#"}, "1") is None
