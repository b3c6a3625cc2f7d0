"""The key that checkpoints are signed with."""

import stat

import pytest

from callboard.deploy.audit_key import public_file, public_key, signing_key
from callboard.events.checkpoint import key_of
from callboard.events.errors import InvalidInput


def test_it_is_made_once(tmp_path):
    """For its owner alone to read, with its public half beside it."""
    file = tmp_path / "data" / "audit.key"
    key = signing_key(file)
    assert key_of(signing_key(file)) == key_of(key)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert public_key(public_file(file)) == public_key(file) == key_of(key)
    assert [path.name for path in sorted(file.parent.iterdir())] == ["audit.key", "audit.pub"]


def test_what_is_no_such_key_is_told(tmp_path):
    """With the file, and what it should be."""
    file = tmp_path / "audit.key"
    file.write_text("-----BEGIN PRIVATE KEY-----\nno\n-----END PRIVATE KEY-----\n")
    with pytest.raises(InvalidInput, match=r"audit\.key: not an Ed25519 key in PEM"):
        signing_key(file)
    with pytest.raises(InvalidInput, match=r"audit\.key: not an Ed25519 key in PEM"):
        public_key(file)
    with pytest.raises(InvalidInput, match="can't be read"):
        public_key(tmp_path / "none.pub")
    with pytest.raises(InvalidInput, match="can't be read or written"):
        signing_key(tmp_path)
