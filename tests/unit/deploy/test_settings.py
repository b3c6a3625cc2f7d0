import math
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from callboard.deploy.settings import Backend, Settings, listed_price, missing_keys
from callboard.events import chat
from callboard.events.money import Price


def test_url_and_key_follow_from_the_provider():
    """A backend without a url goes to its provider's own, with the provider's usual key."""
    openai = Backend(provider="openai", model="m")
    anthropic = Backend(provider="anthropic", model="m")
    assert (openai.url, openai.api_key_env) == ("https://api.openai.com/v1", "OPENAI_API_KEY")
    assert (anthropic.url, anthropic.api_key_env) == ("https://api.anthropic.com", "ANTHROPIC_API_KEY")


def test_a_key_never_goes_to_another_server_unasked():
    """A backend with a url of its own has no key unless one is named, and a callable has neither."""
    assert Backend(provider="openai", model="m", url="http://127.0.0.1:1/v1").api_key_env == ""
    function = Backend(provider="callable", function="m:f")
    assert (function.url, function.api_key_env) == ("", "")


def test_a_price_that_is_set_is_not_looked_up():
    """The price in the settings wins over the list price, even if it is nothing."""
    free = Backend(provider="openai", model="gpt-4o-mini", price=Price())
    assert free.price_or_lookup() == (Price(), True)


def test_a_listed_model_has_its_list_price():
    """The list's Decimal dollars become exact micro-dollars, with the price of cached input."""
    assert Backend(provider="openai", model="gpt-4o-mini").price_or_lookup() == (
        Price(input=150_000, output=600_000, cached=75_000),
        True,
    )


@pytest.mark.parametrize(
    "backend",
    [
        Backend(provider="openai", model="no-such-model"),
        Backend(provider="openai", model="text-embedding-3-small"),
        Backend(provider="openai", model="gpt-4o-mini", url="http://127.0.0.1:1/v1"),
        Backend(provider="callable", function="m:f"),
    ],
    ids=["unknown model", "no price of output", "unknown server", "function"],
)
def test_a_price_that_is_nowhere_is_free_and_said_to_be_unknown(backend):
    """An unlisted model, or a listed one on a server that isn't its provider's, is free but not priced."""
    assert backend.price_or_lookup() == (Price(), False)


@pytest.mark.parametrize("tokens", [1, 199_999, 200_000, 200_001, 900_000])
def test_a_list_price_in_steps_costs_what_the_list_says(tokens):
    """Where long prompts cost more, a call costs what the price list's own sum is, on either side of a step."""
    from genai_prices import Usage, calc_price

    url, model = "https://api.anthropic.com", "claude-sonnet-4-5"
    price = listed_price(url, model)
    assert price is not None
    assert price.steps
    listed = calc_price(
        Usage(input_tokens=tokens, output_tokens=1000, cache_read_tokens=tokens // 2), model, provider_api_url=url
    )
    assert price.cost(chat.Usage(tokens, 1000, tokens // 2)) == math.ceil(listed.total_price * 1_000_000)


def test_missing_keys_names_backends_whose_variable_is_unset_or_empty():
    """Only a start needs the keys, and each backend without one is told with its variable."""
    settings = Settings(
        backends={
            "a": Backend(provider="openai", model="m", api_key_env="A_KEY"),
            "b": Backend(provider="openai", model="m", api_key_env="B_KEY"),
            "c": Backend(provider="anthropic", model="m"),
            "local": Backend(provider="openai", model="m", url="http://127.0.0.1:1/v1"),
        }
    )
    assert missing_keys(settings, {"A_KEY": "secret", "B_KEY": ""}) == {"b": "B_KEY", "c": "ANTHROPIC_API_KEY"}


def test_the_data_folder_may_be_in_the_home_folder():
    """``~`` is the home folder, and any other folder is as written."""
    assert Settings(data="~/x").data_folder == Path.home() / "x"
    assert Settings().data_folder == Path(".callboard")


def test_settings_survive_a_round_trip_and_refuse_unknown_fields():
    """Settings can be sent to another process as JSON, and a field that means nothing there is an error."""
    settings = Settings(backends={"a": Backend(provider="openai", model="m", price=Price(input=1))})
    stored = msgspec.json.encode(settings)
    assert msgspec.json.decode(stored, type=Settings) == settings
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.json.decode(b'{"dat": ""}', type=Settings)


def test_reading_settings_imports_nothing_heavy():
    """The command line starts fast: no network library, event loop or price list is loaded by the settings."""
    heavy = "{'asyncio', 'httpx', 'httpx2', 'genai_prices', 'pydantic', 'nats', 'ray', 'difflib', 'importlib.metadata'}"
    code = f"import sys, callboard.deploy.settings_file; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
