"""Secrets are taken out of texts, also where only their beginning is left."""

import pytest

from callboard.actors.secrets import NO_SECRETS, Secrets

KEY = "sk-live-0123456789abcdef"
OTHER = "sk-live-9876"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("nothing here", "nothing here"),
        (f"wrong key {KEY}, go away", "wrong key ***, go away"),
        (f"{KEY}{KEY}", "******"),
        (f"key={OTHER}&{KEY}", "key=***&***"),
        ("cut off: sk-live-012…", "cut off: ***…"),
        ("sk-live", "sk-live"),
        ("sk-live-sk-live-0", "******"),
        ("", ""),
    ],
)
def test_what_is_left(text, masked):
    """Whole, twice, beside another, cut off; what is too short to be one stays."""
    assert Secrets([KEY, OTHER]).masked(text) == masked


def test_what_is_no_secret():
    """Unset variables, and values that are too short to be told from words."""
    assert Secrets(["", "short"]).masked("a short text") == "a short text"
    assert NO_SECRETS.masked(KEY) == KEY
