"""A trace as lines of text: the tree of its spans, a bar for each over time, and what it took, cost and came to."""

from collections import defaultdict
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from callboard.deploy.cli.printing import one_line, took, usd
from callboard.projections import semconv
from callboard.projections.span import Span

LEAST_BAR: Final = 10
MOST_NAME: Final = 0.45
"""The part of the width that names take at most, with the tree before them."""

DONE, UNDER_WAY, MOMENT = "█", "░", "▏"


class Row(NamedTuple):
    """A span in its place: ``before`` its name are the branches that lead to it, ``below`` goes before what it says."""

    span: Span
    before: str
    below: str


def tree(spans: Collection[Span]) -> list[Row]:
    """The spans in the order of the tree, each below its parent, and by time; one whose parent is unknown is a root."""
    ids = {span.span for span in spans}
    below: defaultdict[str, list[Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: (span.start_ns, -span.end_ns, span.span)):
        below[span.parent if span.parent in ids else ""].append(span)
    rows: list[Row] = []
    waiting = [(root, "", "") for root in reversed(below[""])]
    while waiting:
        span, before, under = waiting.pop()
        children = below[span.span]
        rows.append(Row(span, before, under + ("│ " if children else "  ")))
        branches = [("├─ ", "│  ")] * (len(children) - 1) + [("└─ ", "   ")]
        placed = [(child, under + branch, under + on) for child, (branch, on) in zip(children, branches, strict=False)]
        waiting += reversed(placed)
    return rows


def waterfall(ended: Collection[Span], under_way: Collection[Span], width: int) -> Iterator[str]:
    """Lines no wider than ``width`` characters, as far as that is possible: spans, and below them why they failed."""
    rows, open_ids = tree([*ended, *under_way]), {span.span for span in under_way}
    if not rows:
        return
    details = [detail(row.span) for row in rows]
    names = [row.before + one_line(row.span.name, 200) for row in rows]
    times = [took(row.span.end_ns - row.span.start_ns) or "0 ms" for row in rows]
    time_width = max(map(len, times))
    name_width = min(max(map(len, names)), max(int(width * MOST_NAME), 12))
    detail_width = min(max(map(len, details)), width - name_width - time_width - LEAST_BAR - 6)
    bar_width = max(width - name_width - time_width - max(detail_width, 0) - 6, LEAST_BAR)
    start = min(row.span.start_ns for row in rows)
    whole = max(max(row.span.end_ns for row in rows) - start, 1)
    for row, name, time, told in zip(rows, names, times, details, strict=True):
        is_open = row.span.span in open_ids
        drawn = bar(row.span.start_ns - start, row.span.end_ns - start, whole, bar_width, is_open=is_open)
        shown = one_line(told, detail_width) if detail_width > 0 else ""
        yield f"{_cut(name, name_width)}  {drawn}  {time.rjust(time_width)}  {shown}".rstrip()
        if failed := failure(row.span):
            said = row.below + "✗ "
            yield said + one_line(failed, max(width - len(said), LEAST_BAR))


def bar(start: int, end: int, whole: int, width: int, *, is_open: bool = False) -> str:
    """A line of ``width`` characters for the time from 0 to ``whole``, in which ``start`` to ``end`` is drawn."""
    first = min(start * width // whole, width - 1)
    length = min((end - start) * width // whole, width - first)
    body = (UNDER_WAY if is_open else DONE) * length or (UNDER_WAY if is_open else MOMENT)
    return (" " * first + body).ljust(width)


def detail(span: Span) -> str:
    """Who did it, for how many tokens and how much money, and what came of it if that is not the usual."""
    told = span.attributes
    tokens = [told.get(name) for name in (semconv.INPUT_TOKENS, semconv.OUTPUT_TOKENS)]
    cost = told.get(semconv.COST, told.get(semconv.TASK_COST))
    outcome = told.get(semconv.TASK_STATUS, told.get(semconv.OUTCOME, ""))
    parts = (
        told.get(semconv.BACKEND) or told.get(semconv.AGENT_HOST),
        f"{tokens[0]}+{tokens[1]} tokens" if all(isinstance(number, int) for number in tokens) else "",
        usd(cost) if isinstance(cost, int) and cost else "",
        "wasted" if told.get(semconv.WASTED) else "",
        outcome if outcome not in USUAL else "",
        *(f"{link.attributes.get(semconv.LINK, 'linked')} {link.span[:6]}" for link in span.links),
    )
    return " ".join(str(part) for part in parts if part)


def failure(span: Span) -> str:
    """Why a span failed, or else its newest try; empty if none did."""
    if span.error is not None:
        return f"{span.attributes.get(semconv.ERROR_TYPE, 'failed')}: {span.error}"
    for event in reversed(span.events):
        if event.name == semconv.EXCEPTION:
            return f"{event.attributes[semconv.EXCEPTION_TYPE]}: {event.attributes[semconv.EXCEPTION_MESSAGE]}"
    return ""


USUAL: Final = {"", "completed", "assigned", "started", "finished", "stepped", "answered", "sent"}
"""Outcomes that are not worth a word."""


def _cut(text: str, width: int) -> str:
    return (text if len(text) <= width else text[: width - 1] + "…").ljust(width)
