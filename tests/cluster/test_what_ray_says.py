"""Ray prints to standard output whatever happens on its cluster while somebody is connected."""

from types import SimpleNamespace

import pytest
import ray

from callboard.deploy.ray.cluster import connected
from callboard.deploy.settings import Ray, Settings

pytestmark = pytest.mark.cluster


def test_it_is_no_part_of_what_a_command_prints(monkeypatch, capsys):
    """A node that is gone would else be told within the command's JSON."""

    def say(*_, **__) -> None:
        print("(raylet) The node has been marked dead")

    monkeypatch.setattr(ray, "init", say)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(gcs_address="there"))
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with connected(Settings(ray=Ray(address="there"))) as address:
        say()
    told = capsys.readouterr()
    assert (address, told.out, told.err.count("marked dead")) == ("there", "", 2)
