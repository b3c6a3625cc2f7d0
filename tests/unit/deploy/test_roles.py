"""Which roles a node has, before it starts."""

import pytest
import structlog

from callboard.deploy.node import Node
from callboard.deploy.roles import ROLES
from callboard.deploy.settings import Http, Settings
from callboard.events.errors import InvalidInput


@pytest.mark.parametrize("roles", [("http",), ROLES])
def test_http_without_an_address_is_refused_when_it_is_named(roles):
    """Alone and among others."""
    with pytest.raises(InvalidInput, match=r"the role http has nowhere to listen: set http\.listen"):
        Node(Settings(), roles=roles)


def test_http_without_an_address_is_left_out_when_all_are_meant():
    """A line of the log says so."""
    with structlog.testing.capture_logs() as lines:
        assert Node(Settings()).roles == tuple(role for role in ROLES if role != "http")
    assert lines == [{"event": "role left out", "role": "http", "why": "http.listen is not set", "log_level": "info"}]
    with structlog.testing.capture_logs() as lines:
        assert Node(Settings(http=Http(listen="127.0.0.1:0"))).roles == ROLES
    assert lines == []


def test_none_named_and_no_roles_are_two_things():
    """A node that is only a host of agents has no roles."""
    assert Node(Settings(), roles=()).roles == ()
