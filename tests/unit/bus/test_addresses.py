"""How an address of NATS is read, and how it is shown."""

import pytest

from callboard.bus.addresses import has_user, servers_of, shown
from callboard.events.errors import InvalidInput

PLAIN = ("nats://127.0.0.1:4222", "tls://a:1, nats://[::1]:2,b:3", "localhost", "")


@pytest.mark.parametrize("url", PLAIN)
def test_an_address_without_a_user_is_shown_as_it_is(url):
    """Nothing in it is secret."""
    assert shown(url) == url
    assert not has_user(url)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("nats://me:secret@host:4222", "nats://host:4222"),
        ("nats://secret@host", "nats://host"),
        ("tls://me:secret@a:1, nats://me:secret@b:2", "tls://a:1, nats://b:2"),
        ("me:secret@host:4222", "host:4222"),
        ("nats://me:se@secret@host", "nats://host"),
        ("nats://me:se/secret?secret#secret@host", "nats://host"),
        ("nats://me:se,secret@host", "nats://host"),
        ("nats://me:se://secret@host", "nats://host"),
        ("nats://a:1,nats://me:secret@b:2,c:3", "nats://a:1,nats://b:2,c:3"),
    ],
)
def test_nobody_is_shown_who_comes_in_nor_by_what_word(url, told):
    """Also where it is written so that it can't be used."""
    assert shown(url) == told
    assert has_user(url)


def test_several_servers_are_tried():
    """With or without a scheme, and with spaces after the commas."""
    assert servers_of("nats://me:secret@a:1, tls://b,c:2") == ["nats://me:secret@a:1", "tls://b", "c:2"]


@pytest.mark.parametrize("url", ["nats://a:b", "nats://", "", "a:1,,b:2", "nats://a:0", "nats://me:se/cret@host:1"])
def test_what_is_no_address_is_refused_in_one_line(url):
    """Without a secret that may stand there."""
    with pytest.raises(InvalidInput, match="is no address of NATS: it must be like nats://host:4222") as caught:
        servers_of(url)
    assert "cret" not in str(caught.value)
