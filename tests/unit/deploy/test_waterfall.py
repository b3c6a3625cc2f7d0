"""A trace as a tree with bars: every span once, in its place, within the width."""

from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.deploy.cli.waterfall import bar, tree, waterfall
from callboard.projections.span import Span, SpanEvent, SpanLink

MS = 1_000_000


def span(name: str, parent: str = "", start: int = 0, end: int = 10, **more) -> Span:
    return Span("t" * 32, name, parent, name, "internal", start * MS, end * MS, **more)


TRACE = [
    span("chat m", "task", 40, 90, attributes={
        "callboard.backend": "fast", "gen_ai.usage.input_tokens": 120, "gen_ai.usage.output_tokens": 45,
        "callboard.cost.usd_micros": 21, "callboard.outcome": "completed",
    }),
    span("task", "caller", 0, 100, attributes={
        "callboard.task.cost.usd_micros": 21, "callboard.task.status": "completed"
    }),
    span("route", "task", 0, 10),
    span("chat l", "task", 10, 40, error="no answer in time", attributes={"error.type": "timeout"}),
]  # fmt: skip


def test_a_trace_is_a_tree_over_time():
    """Children below their parents by when they began; what failed says why, on a line of its own."""
    assert [*waterfall(TRACE, [], 72)] == [
        "task       ██████████████████████   100 ms  $0.000021",
        "├─ route   ██                      10.0 ms",
        "├─ chat l    ██████                30.0 ms",
        "│    ✗ timeout: no answer in time",
        "└─ chat m          ███████████     50.0 ms  fast 120+45 tokens $0.000021",
    ]


def test_what_is_under_way_is_drawn_as_that():
    """Lightly, to where it has come; a moment is a thin line."""
    assert bar(0, 100, 100, 10, is_open=True) == "░░░░░░░░░░"
    assert bar(50, 50, 100, 10) == "     ▏    "
    assert bar(100, 100, 100, 10) == "         ▏"
    (line,) = waterfall([], [span("task")], 60)
    assert "░" in line
    assert "█" not in line


def test_what_else_is_worth_a_word_is_said():
    """Money that was wasted, ends that are not the usual, what a span takes the place of, and tries that failed."""
    tried = (SpanEvent("exception", 5 * MS, {"exception.type": "ValueError", "exception.message": "no space left"}),)
    lines = [
        *waterfall(
            [
                span("a", attributes={"callboard.wasted": True, "callboard.cost.usd_micros": 5}),
                span("b", attributes={"callboard.task.status": "cancelled"}),
                span("c", links=(SpanLink("t" * 32, "0123456789abcdef", {"callboard.link": "replaces"}),)),
                span("d", events=tried),
            ],
            [],
            80,
        )
    ]
    assert [line.split("ms")[1].strip() for line in lines[:4]] == [
        "$0.000005 wasted",
        "cancelled",
        "replaces 012345",
        "",
    ]
    assert lines[4].strip() == "✗ ValueError: no space left"


def test_names_of_others_stay_on_their_line():
    """No line breaks, no control characters, cut to their part of the width."""
    lines = [*waterfall([span("x\n\x1b[31m" + "y" * 100, error="a\nb")], [], 60)]
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)


spans = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 1000), st.integers(0, 1000), st.booleans(), st.text(max_size=60)),
    min_size=1,
    max_size=30,
)


@settings(max_examples=40)
@given(spans, st.integers(50, 200))
def test_each_span_has_one_line_that_fits(drawn, width):
    """Whatever is below what, and however long it took."""
    made = [
        span(f"{number}", f"{parent}" if parent < number else "", start, start + length, error=name if failed else None,
             attributes={"callboard.backend": name})
        for number, (parent, start, length, failed, name) in enumerate(drawn)
    ]  # fmt: skip
    rows = tree(made)
    assert sorted(row.span.span for row in rows) == sorted(each.span for each in made)
    assert len({row.span.span for row in rows}) == len(made)
    above = {row.span.span: index for index, row in enumerate(rows)}
    assert all(above[row.span.parent] < above[row.span.span] for row in rows if row.span.parent)
    lines = [*waterfall(made, [], width)]
    assert len(lines) == len(made) + sum(failed for *_, failed, _ in drawn)
    deep = max(len(row.before) for row in rows)
    assert all(len(line) <= width or deep > width // 4 for line in lines)
