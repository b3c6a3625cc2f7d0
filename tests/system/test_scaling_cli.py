"""A backend that is scaled by its load, as the command line shows it and takes it in hand."""

import time

import pytest
from servers.working_directory import WAIT_S, Folder, end

TOML = """
[backends.slow]
provider = "callable"
function = "callable_backends:slow"
concurrency = 1

[backends.slow.scaling]
max = 3
target_wait = "100ms"
cool_up = "500ms"
cool_down = "1h"
"""


@pytest.fixture
def folder(tmp_path):
    folder = Folder(tmp_path)
    (tmp_path / "callboard.toml").write_text(TOML)
    node, _ = folder.up()
    try:
        yield folder
    finally:
        end(node)


def slow(folder: Folder) -> dict:
    [backend] = folder.json("backends")
    return backend


@pytest.mark.chaos
def test_nobody_scales(tmp_path):
    """A backend at 0 that has work, with no scaler anywhere: doctor says what is missing."""
    folder = Folder(tmp_path)
    (tmp_path / "callboard.toml").write_text(TOML + "min = 0\n")
    node, _ = folder.serve("up", "--role", "router", "--role", "intake", "--role", "backend:slow")
    try:
        folder.call("scale", "slow", "0")
        folder.call("scale", "slow", "--auto")
        assert "scaled to 0 while there is nothing to do" in folder.call("doctor").stdout
        task = folder.json("submit", "x", "--no-wait")["task"]
        folder.until(task, lambda shown: shown["status"] == "assigned")
        told = folder.call("doctor").stdout
        assert "scaled to 0, and has 1 tasks" in told
        assert "a node with the role scaler starts it: is there one?" in told
        folder.call("scale", "slow", "1")
        folder.until(task, lambda shown: shown["status"] == "completed")
    finally:
        end(node)


def test_scaled_by_load_and_by_hand(folder):
    """How few and how many may be, why there are as many, what that was decided on; then by hand, and given back."""
    assert "slow: 1 replicas, as configured; more at any time, no fewer than that" in folder.call("backends").stdout
    busy = folder.json("submit", "for ever", "--no-wait")["task"]
    for number in range(4):
        folder.call("submit", f"{number}", "--no-wait")
    deadline = time.monotonic() + WAIT_S
    while (shown := slow(folder))["replicas"] == 1:
        assert time.monotonic() < deadline
    assert shown["spec"]["scaling"]["max"] == 3
    assert shown["scaling"]["why"].startswith("waiting calls: ")
    assert shown["scaling"]["fewer_from"] is not None
    told = folder.call("backends").stdout
    assert "3 (1 to 3)" in told
    assert "100ms" not in told
    assert "the last begins in" in told
    assert "; no more than that, fewer from 20" in told
    why = folder.json("why", "slow")
    assert why["entity"] == "backend/slow"
    assert why["scaling"]["again"] is True
    assert why["scaling"]["demand"]["queued"] > 0
    assert "decided again on that: the same" in folder.call("why", "backend/slow").stdout

    folder.call("cancel", busy)
    told = folder.call("scale", "slow", "5", "--reason", "the fair").stdout
    assert told == "slow: 5 replicas, whatever its load (`callboard scale slow --auto` ends that)\n"
    assert folder.json("scale", "slow", "5", "--reason", "the fair")["changed"] is False
    assert "slow: 5 replicas, the fair: held, `callboard scale slow --auto`" in folder.call("backends").stdout
    assert slow(folder)["scaling"]["held"]
    assert folder.json("scale", "slow", "--auto")["held"] is False
    deadline = time.monotonic() + WAIT_S
    while (shown := slow(folder))["replicas"] != 3:
        assert time.monotonic() < deadline
    assert shown["scaling"]["why"] == "there are to be 3 at most"
    assert "(as before)" in folder.call("scale", "slow", "--auto").stdout
