"""What each role may do, as it is written down, against what the actors need."""

import re
from pathlib import Path

import pytest

from callboard.actors.agents import postman
from callboard.actors.router import router
from callboard.bus import permissions, streams
from callboard.bus.credentials import ROLES, make
from callboard.bus.filters import Filter, common
from callboard.bus.permissions import grant, lives_apart, may_publish
from callboard.events.envelope import EVENT_TYPES


def granted(role):
    return grant(role, "deepseek" if role == "backend" else "")


NARROWED = [role for role in ROLES if role != "operator"]


@pytest.mark.parametrize("role", NARROWED)
def test_who_is_no_operator_is_narrowed(role):
    """None may publish everything, change a stream or a queue, or read beyond its own inbox and what is named."""
    may = granted(role)
    for subject in (
        ">",
        "evt.>",
        "submit.>",
        "key.ada",
        "checkpoint.1",
        "snapshot.name.x",
        *(
            f"$JS.API.{verb}"
            for stream in ("EVENTS", "KEYS", "TIMERS", "SUBMISSIONS", "BLOBS", "SNAPSHOTS", "CHECKPOINTS")
            for verb in (
                *(f"STREAM.{each}.{stream}" for each in ("CREATE", "UPDATE", "DELETE", "PURGE", "MSG.DELETE")),
                *(f"CONSUMER.{each}.{stream}.router" for each in ("CREATE", "DELETE", "PAUSE", "RESET")),
            )
        ),
    ):
        assert subject not in Filter(may.publishes)
        assert permissions.called(subject) not in Filter(may.publishes)
    assert ">" not in may.hears
    assert lives_apart(make("acme", role, "x"))


def test_an_operator_may_do_everything():
    """It has no table: the account is its own. So may who shows no key, as far as we know."""
    assert grant("operator") is None
    assert may_publish(make("acme", "operator"), "$JS.API.STREAM.DELETE.EVENTS")
    assert may_publish(None, "$JS.API.STREAM.DELETE.EVENTS")
    assert not lives_apart(None)


def test_a_publisher_may_read_nothing():
    """A leaked key can't."""
    assert (granted("publisher").reads, granted("publisher").hears) == ((), ())
    assert all(subject.startswith("submit.") for subject in granted("publisher").asks)


def test_a_backend_has_nothing_of_jetstream_and_only_its_own():
    """Its gate, and what it is told there."""
    assert granted("backend") == permissions.Grant(asks=("gate.deepseek.>",), hears=("told.deepseek.>",))


def test_the_names_here_are_those_of_the_actors():
    """Queues and streams are called the same, and each type of event that may be appended is one that there is."""
    assert (permissions.ROUTER_QUEUE, permissions.MAIL_QUEUE) == (router.QUEUE, postman.QUEUE)
    assert permissions.MAIL_ABROAD_QUEUE == postman.QUEUE_ABROAD
    known = {tuple(each.split(".")[1:3]) for each in EVENT_TYPES}
    for role in NARROWED:
        for subject in granted(role).asks:
            words = subject.split(".")
            if words[0] == "evt" and words[-1] != ">":
                assert (words[2], words[4]) in known
            if words[:2] == ["$JS", "API"]:
                assert {*words} & {*streams.__all__}


@pytest.mark.parametrize(
    ("patterns", "one"),
    [
        (("evt.>",), "evt.>"),
        (("evt.*.task.>", "evt.*.budget.>"), "evt.*.*.>"),
        (("evt.*.task.*.a", "evt.*.task.*.b"), "evt.*.task.*.*"),
        (("evt.1.task.t.>", "evt.1.task.t.x"), "evt.1.task.t.>"),
        (("evt.*.task.*.a.*", "evt.*.task.*.a"), "evt.*.task.*.>"),
        (("a.b.c", "a.b.c.d.e"), "a.b.>"),
        (("evt.>", "evt.1.a.b.c"), "evt.>"),
    ],
)
def test_one_pattern_for_several(patterns, one):
    """It takes in whatever one of them does."""
    assert common(patterns) == one
    for pattern in patterns:
        assert pattern.replace("*", "x").replace(">", "y.z") in Filter([one])
        assert pattern.replace("*", "x").replace(">", "y") in Filter([one])


def test_the_page_says_the_same():
    """deploy/SECURITY.md has the table, word for word."""
    page = (Path(permissions.__file__).resolve().parents[1] / "deploy" / "SECURITY.md").read_text()
    told = dict(re.findall(r"^### (\w+)\n\n```\n(.*?)\n```$", page, re.DOTALL | re.MULTILINE))
    assert told.keys() == {*NARROWED}
    for role in NARROWED:
        may = grant(role, "NAME" if role == "backend" else "")
        rows = [f"{word} {each}" for word in ("asks", "reads", "hears") for each in getattr(may, word)]
        rows += ["answers whoever waits"] * may.answers + ["hears answers to its tasks"] * may.told
        assert told[role].splitlines() == rows
