"""A process beyond the gate, and the settings of a backend whose calls are made there."""

import pytest

from callboard.deploy.beyond_gate import BeyondGate
from callboard.deploy.settings import Backend, Nats, Settings, missing_keys
from callboard.deploy.settings_file import parse
from callboard.events.errors import InvalidInput

FAR = Backend(provider="callable", function="m:f")
AT = Nats(url="nats://127.0.0.1:4222")


@pytest.mark.parametrize(
    ("settings", "roles", "why"),
    [
        (Settings(nats=AT, backends={"far": FAR}), (), "use --role backend:NAME alone"),
        (Settings(nats=AT, backends={"far": FAR}), ("router",), "use --role backend:NAME alone"),
        (Settings(nats=AT, backends={"far": FAR}), ("backend:far", "router"), "use --role backend:NAME alone"),
        (Settings(nats=AT, backends={"far": FAR}), ("backend:near",), "unknown backend 'near'"),
        (Settings(backends={"far": FAR}), ("backend:far",), "set url in \\[nats\\], or use --url"),
    ],
)
def test_what_it_can_not_be_is_said_in_one_line(settings, roles, why):
    """It makes the calls of one backend, that it knows, for a gate at an address."""
    with pytest.raises(InvalidInput, match=why) as said:
        BeyondGate(settings, roles=roles)
    assert "\n" not in str(said.value)


async def test_the_key_of_its_model_is_needed_where_it_runs_and_nowhere_else():
    """A node registers the backend without it."""
    text = '[backends.far]\nprovider = "openai"\nmodel = "m"\nworkers = "remote"\n'
    settings = parse(text, "callboard.toml")
    assert settings.backends["far"].workers == "remote"
    assert not missing_keys(settings, {})
    beyond = BeyondGate(Settings(nats=AT, backends=settings.backends), roles=("backend:far",), environ={})
    with pytest.raises(InvalidInput, match="no OPENAI_API_KEY"):
        await beyond.start()
