"""A lease in a router's memory: it is never overdrawn, whatever is not known yet."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.router.lease import OpenLease
from callboard.projections.budgets import Lease

NOW = datetime(2026, 11, 23, tzinfo=UTC)
UNTIL = NOW + timedelta(seconds=10)

steps = st.lists(
    st.tuples(
        st.integers(0, 60),
        st.sampled_from(["stored", "not stored", "stored, not known", "not stored, not known"]),
        st.integers(0, 100),
        st.integers(0, 3),
    ),
    max_size=60,
)


@given(st.integers(0, 300), steps)
def test_what_the_log_says_never_goes_over_the_lease(amount, drawn):
    """Answers may be lost, the fold may lag, calls cost any part of what is held: the log's sum stays within."""
    lease, log, folded = OpenLease("l", "team", ("team",), amount, UNTIL, NOW), [], 0

    def told() -> Lease | None:
        costs = [cost if ended else held for held, cost, ended in log[:folded]]
        return Lease("team", "r", amount, UNTIL, NOW, realised=sum(costs)) if folded else None

    for key, (needed, outcome, part, behind) in enumerate(drawn):
        if lease.draw(key, needed, told(), NOW):
            if outcome.startswith("stored"):
                log.append((needed, needed * part // 100, part % 2))
            if outcome == "stored":
                lease.stored(key, len(log), folded=folded)
            elif outcome == "not stored":
                lease.undo(key)
        assert sum(held for held, _, ended in log if not ended) + sum(cost for _, cost, ended in log if ended) <= amount
        for seq in range(folded + 1, max(len(log) - behind, folded) + 1):
            folded = seq
            lease.folded(seq)


def test_a_sealed_lease_is_not_drawn_from():
    """Whoever sealed it."""
    sealed = Lease("team", "r", 100, UNTIL, NOW, sealed=True)
    assert not OpenLease("l", "team", ("team",), 100, UNTIL, NOW).draw("k", 1, sealed, NOW)


def test_a_draw_may_be_changed():
    """The same step decides again: only its newest draw counts."""
    lease = OpenLease("l", "team", ("team",), 100, UNTIL, NOW)
    assert lease.draw("k", 60, None, NOW)
    assert lease.draw("k", 100, None, NOW)
    assert not lease.draw("k", 101, None, NOW)
    assert lease.room(None) == 0
    lease.undo("k")
    assert lease.room(None) == 100
