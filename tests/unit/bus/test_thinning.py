"""Which snapshots are kept."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from callboard.bus.thinning import Bounds, Moment, superfluous

moments = st.lists(st.integers(1, 10**7), unique=True, max_size=80).map(
    lambda seqs: [Moment(seq, 1 + seq % 1000) for seq in sorted(seqs)]
)


@given(moments, st.builds(Bounds, st.integers(1, 30), st.integers(1, 20_000)))
def test_what_is_kept_is_within_bounds(found, bounds):
    """And the newest is always among it; nothing is dropped that has room."""
    dropped = superfluous(found, bounds)
    kept = [each for each in found if each not in dropped]
    assert kept[-1:] == found[-1:]
    assert len(kept) + len(dropped) == len(found)
    fits = len(kept) <= bounds.number and sum(each.size for each in kept) <= bounds.size
    assert fits or len(kept) <= 1
    if len(found) <= bounds.number and sum(each.size for each in found) <= bounds.size:
        assert not dropped


def test_gaps_grow_with_their_age():
    """A snapshot every 50,000 messages of twenty million: any moment is near to one, in relation to how old it is."""
    kept: list[Moment] = []
    for seq in range(50_000, 20_000_001, 50_000):
        kept = sorted({*kept, Moment(seq, 10**6)})
        kept = [each for each in kept if each not in superfluous(kept, Bounds(64, 2**40))]
    seqs = [0, *(each.seq for each in kept)]
    gaps = [after - before for before, after in pairwise(seqs)]
    assert len(kept) == 64
    assert gaps[-1] == 50_000
    for gap, begins in zip(gaps, seqs, strict=False):
        assert gap <= max(100_000, (seqs[-1] - begins) * 0.2)


def test_one_beside_another_goes_first():
    """Those that several nodes save at nearly the same time."""
    found = [Moment(100, 1), Moment(200, 1), Moment(201, 1), Moment(300, 1)]
    [dropped] = superfluous(found, Bounds(3, 100))
    assert dropped.seq in {200, 201}
