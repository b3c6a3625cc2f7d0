"""What may happen to an approval: it ends once, for the very action that was asked about."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.events.approval import (
    OUTCOMES,
    Approval,
    Approved,
    Denied,
    Expired,
    Ignored,
    Requested,
    Status,
    Superseded,
    decide,
    evolve,
    hash_of,
)
from callboard.events.errors import IllegalTransition

UNTIL = datetime(2026, 12, 1, tzinfo=UTC)
ACTION = {"tool": "mail", "to": ["ann", "bob"]}
HASH = hash_of(ACTION)
REQUESTED = Requested(ACTION, HASH, "Send it?", "writer", UNTIL)
ENDS = {
    "approve": (Approved(HASH, "ann"), Status.APPROVED),
    "deny": (Denied(HASH, "bob"), Status.DENIED),
    "expire": (Expired(UNTIL), Status.EXPIRED),
    "supersede": (Superseded("other"), Status.SUPERSEDED),
}


def after(approval: Approval, *wishes) -> Approval:
    for wish in wishes:
        for event in decide(approval, wish):
            approval = evolve(approval, event)
    return approval


@given(st.lists(st.sampled_from(sorted(ENDS)), min_size=1, max_size=8))
def test_the_first_end_is_the_only_one(names):
    """Four that are told apart; an answer that comes later is recorded, the same one again is not."""
    approval = after(Approval("a"), REQUESTED)
    first, status = ENDS[names[0]]
    assert decide(approval, first) == [first]
    approval = after(approval, first)
    assert approval.status is status
    assert status in OUTCOMES
    for name in names[1:]:
        wish = ENDS[name][0]
        found = decide(approval, wish)
        if isinstance(wish, Approved | Denied) and ENDS[name][1] is not status:
            assert found == [Ignored(name == "approve", wish.by, f"it is {status}")]
        else:
            assert found == []
        approval = after(approval, wish)
        assert approval.status is status


@pytest.mark.parametrize("answer", [Approved, Denied])
def test_an_answer_is_about_the_action_or_nothing(answer):
    """Whoever saw something else has approved something else."""
    approval = after(Approval("a"), REQUESTED)
    other = hash_of({"tool": "mail", "to": ["ann", "bob", "everybody"]})
    with pytest.raises(IllegalTransition, match=f"approval a is about {HASH[:12]}, not about '{other[:12]}'"):
        decide(approval, answer(other, "ann"))
    with pytest.raises(IllegalTransition, match="no approval 'a'"):
        decide(Approval("a"), answer(HASH, "ann"))


def test_the_hash_is_that_of_the_action_whatever_the_order_of_keys():
    """The same action asked about twice is the same; another needs an id of its own."""
    assert hash_of({"to": ["ann", "bob"], "tool": "mail"}) == HASH
    assert hash_of({"to": ["bob", "ann"], "tool": "mail"}) != HASH
    approval = after(Approval("a"), REQUESTED)
    assert decide(approval, Requested(dict(reversed(ACTION.items())), HASH)) == []
    with pytest.raises(IllegalTransition, match="approval a is about something else: ask anew, under another id"):
        decide(approval, Requested("other", hash_of("other")))


def test_it_expires_when_it_said_it_would():
    """A timer for another time, or of one that waits for ever, ends nothing."""
    approval = after(Approval("a"), REQUESTED)
    assert decide(approval, Expired(datetime(2026, 11, 1, tzinfo=UTC))) == []
    assert decide(after(Approval("b"), Requested(ACTION, HASH)), Expired(UNTIL)) == []
