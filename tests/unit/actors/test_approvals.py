"""People are asked, and answer by what they like; every question ends."""

import asyncio
import re

import pytest

from callboard.actors.approval_desk import ApprovalDesk
from callboard.events.approval import Status
from callboard.events.errors import IllegalTransition, InvalidInput

TO = "submit.approval"
ACTION = {"tool": "mail", "to": "everybody"}


@pytest.fixture
async def board(stage):
    stage.run(ApprovalDesk(stage.bus, "approvals").run())
    await asyncio.sleep(0.01)
    return stage.board


async def ended(approval, status: Status):
    assert (await approval.result(5)).status is status
    return await approval.state()


async def test_approved_or_denied_by_name(board, stage):
    """Whoever asked hears who said what; a second answer is refused, and recorded."""
    yes, no = await board.ask(ACTION, question="Send it?", by="writer"), await board.ask("delete it")
    waiting = asyncio.create_task(yes.result(5))
    await asyncio.sleep(0)
    await yes.approve("ann", "fine with me")
    approved = await waiting
    assert (approved.status, approved.by, approved.note) == (Status.APPROVED, "ann", "fine with me")
    assert approved.requested.action == ACTION
    await yes.approve("bob")
    with pytest.raises(IllegalTransition, match="was approved by ann: the answer is recorded, and changes nothing"):
        await yes.deny("bob", "wait!")
    await board.approval(no.id).deny("bob")
    assert (await ended(no, Status.DENIED)).by == "bob"
    assert await stage.events("approval", yes.id) == ["requested", "approved", "ignored"]


async def test_nobody_answered_in_time(board, stage):
    """It expires by its timer; an answer after that is too late, also when the timer has not been heard of yet."""
    late = await board.ask(ACTION, expires_s=0.1)
    await ended(late, Status.EXPIRED)
    with pytest.raises(IllegalTransition, match=r"expired at 20.*: the answer is recorded"):
        await late.approve("ann")
    assert await stage.events("approval", late.id) == ["requested", "expired", "ignored"]


async def test_an_answer_after_its_time_is_too_late_without_a_timer(stage):
    """No clock but that of whoever answers is needed."""
    late = await stage.board.ask(ACTION, expires_s=0.01)
    await asyncio.sleep(0.02)
    with pytest.raises(IllegalTransition, match="expired"):
        await late.approve("ann")
    assert await stage.events("approval", late.id) == ["requested", "expired", "ignored"]


async def test_a_newer_question_takes_the_place_of_another(board):
    """The older one ends, and says what took its place; one that was answered before stays so."""
    first = await board.ask(ACTION)
    second = await board.ask(ACTION | {"to": "ann"}, replaces=first.id)
    assert (await ended(first, Status.SUPERSEDED)).by == second.id
    with pytest.raises(IllegalTransition, match=f"was superseded by {second.id}"):
        await first.approve("ann")
    await second.approve("ann")
    await board.ask(ACTION, replaces=second.id)
    await asyncio.sleep(0.05)
    assert (await second.state()).status is Status.APPROVED


async def test_the_same_key_asks_once(board, stage):
    """A step that is repeated after a crash finds its question; it is not turned into another."""
    first, again = await board.ask(ACTION, key="step-1"), await board.ask(ACTION, key="step-1")
    assert first.id == again.id
    assert await stage.events("approval", first.id) == ["requested"]
    with pytest.raises(IllegalTransition, match="is about something else"):
        await board.ask("other", key="step-1")


async def test_a_plain_message_answers(board, stage):
    """One JSON object from any language, with the hash of what was seen; the reply says how it stands."""
    asked = await board.ask(ACTION)
    bound = (await asked.state()).requested.hash
    said = {"approval": asked.id, "decision": "deny", "hash": bound, "by": "ann", "note": "no"}
    assert await stage.ask(said, to=TO) == [{"approval": asked.id, "status": "denied"}]
    assert (await asked.state()).note == "no"
    (reply,) = await stage.ask(said | {"decision": "approve"}, to=TO)
    assert reply["status"] == "refused"
    assert "was denied by ann" in reply["reason"]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"hash": "something else"}, "is about .*, not about 'something el': look at it again"),
        ({"decision": "maybe"}, "not a decision: Invalid enum value 'maybe'"),
        ({"approval": "nope"}, "no approval 'nope'"),
        ({"approval": "a.b"}, r"approval 'a\.b' is not valid"),
        ({"why": "so"}, "unknown field 'why'"),
    ],
)
async def test_what_is_no_answer_is_told(board, stage, changed, told):
    """The question goes on waiting."""
    asked = await board.ask(ACTION)
    bound = (await asked.state()).requested.hash
    said = {"approval": asked.id, "decision": "approve", "hash": bound, "by": "ann"} | changed
    (reply,) = await stage.ask(said, to=TO)
    assert reply["status"] == "refused"
    assert re.search(told, reply["reason"])
    assert (await asked.state()).status is Status.WAITING


async def test_what_can_not_be_asked_is_told(board):
    """What is no JSON, a time that can't be, a question that there is not."""
    with pytest.raises(InvalidInput, match="the action can't be written as JSON"):
        await board.ask(object())
    with pytest.raises(InvalidInput, match="the question can't be written as JSON"):
        await board.ask(ACTION, by=5)
    with pytest.raises(InvalidInput, match="expires_s must be over 0"):
        await board.ask(ACTION, expires_s=0)
    with pytest.raises(InvalidInput, match="no approval 'nope'"):
        await board.ask(ACTION, replaces="nope")
    with pytest.raises(InvalidInput, match="no approval 'nope'"):
        await board.approval("nope").approve("ann")
    assert await board.approvals.all() == []
