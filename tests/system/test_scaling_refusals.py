"""What `callboard scale` refuses, of a backend that is not scaled by its load."""

import pytest
from servers.working_directory import Folder, end


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder where a node runs."""
    folder = Folder(tmp_path_factory.mktemp("node"))
    node, _ = folder.up()
    try:
        yield folder
    finally:
        end(node)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["echo"], 2, "say how many REPLICAS there should be, or --auto: one of them"),
        (["echo", "2", "--auto"], 2, "say how many REPLICAS there should be, or --auto: one of them"),
        (
            ["echo", "--auto"],
            1,
            "callboard: echo is not scaled by its load: its settings have no [backends.echo.scaling]",
        ),
        (["ehco", "2"], 1, "callboard: unknown backend 'ehco'; did you mean 'echo'?"),
        (["echo", "-1"], 2, "No such option"),
        (["echo", "10001"], 1, "callboard: backend echo can't have 10,001 replicas: use 0 to 10000"),
        (["echo", "many"], 2, "'many' is not a valid integer range"),
    ],
)
def test_what_cannot_be_scaled_is_told_in_one_line(folder, arguments, code, told):
    """Neither a number nor --auto, both, nothing to give it back to, no such backend, too many, no number."""
    assert told in folder.call("scale", *arguments, code=code).stderr
