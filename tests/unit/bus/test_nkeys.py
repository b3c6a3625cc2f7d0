"""Keys as NATS spells them, and the files that they lie in."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from callboard.bus import credentials, nkeys
from callboard.bus.credentials import Credentials, inbox, make, pick, read
from callboard.deploy.keys import secret_file
from callboard.deploy.keys.folder import _document
from callboard.events.errors import InvalidInput

# a key pair of NATS's documentation of nkeys
SEED = "SUAGMJH5XLGZKQQWAWKRZJIGMOU4HPFUYLXJMXOO5NLFEO2OOQJ5LPRDPM"


def test_a_seed_has_one_public_key_which_checks_what_it_signs():
    """The public key can be computed from the seed, and nobody else signs so."""
    seed = nkeys.new_seed()
    public = nkeys.public_of(seed)
    assert (seed[:2], public[0], len(public)) == ("SU", "U", 56)
    raw = base64.b32decode(public)[1:-2]
    Ed25519PublicKey.from_public_bytes(raw).verify(nkeys.sign(seed, b"nonce"), b"nonce")
    assert nkeys.new_seed() != seed


@pytest.mark.parametrize("seed", ["", "SU", SEED[:-1], SEED[:-1] + "A", SEED.replace("SU", "SA"), "not base32 at all"])
def test_what_is_no_seed_is_refused_and_not_shown(seed):
    """Cut off, mistyped or another kind of key: the message does not repeat it."""
    with pytest.raises(InvalidInput) as refused:
        nkeys.public_of(seed)
    assert len(seed) < 4 or seed not in str(refused.value)


def test_credentials_do_not_show_their_secret():
    """However they are printed, in a log line or a traceback."""
    made = make("acme", "backend", "deepseek")
    for shown in (repr(made), str(made), f"{made}", str(made.__rich_repr__()), made.holder):
        assert made.seed not in shown
    assert made.holder == "role backend-deepseek of acme"
    assert inbox(made.public) in f"{inbox(made.public)}.>"


def test_a_key_file_is_read_as_it_was_written(tmp_path):
    """It is for its owner alone, in a folder for its owner alone."""
    made = make("acme", "router")
    file = tmp_path / "acme" / "router.key"
    secret_file.write(file, _document(made))
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert read(file) == made
    assert pick(file, ()) == made
    assert pick(tmp_path / "acme", ("operator", "router")) == made
    with pytest.raises(InvalidInput, match=r"no NATS key of operator here \(there are: router\)"):
        pick(tmp_path / "acme", ("operator",))


def test_a_key_file_that_cant_be_used_says_why_in_one_line(tmp_path):
    """Missing, readable for others, no key, another's seed: and what it holds is not repeated."""
    made, other = make("acme", "router"), make("acme", "router")
    file = tmp_path / "a.key"
    with pytest.raises(InvalidInput, match="can't be read: No such file"):
        read(file)
    swapped = Credentials("acme", "router", "", made.public, other.seed)
    for data, why in (
        (b"{}", "not a NATS key"),
        (_document(made).replace(b"router", b"king"), "not a NATS key"),
        (_document(make("acme", "backend")), "not a NATS key"),
        (_document(made).replace(made.seed[5:9].encode(), b"AAAA"), "not a NATS key"),
        (_document(swapped), "its public key is not that of its seed"),
    ):
        secret_file.write(file, data)
        with pytest.raises(InvalidInput, match=why) as refused:
            read(file)
        assert "\n" not in str(refused.value)
        assert not any(seed[10:20] in str(refused.value) for seed in (made.seed, other.seed))
    secret_file.write(file, _document(made))
    file.chmod(0o640)
    with pytest.raises(InvalidInput, match="others may read this NATS key: chmod 600"):
        read(file)
    assert credentials.ROLES[0] == "operator"
