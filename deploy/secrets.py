"""Which variables of the environment hold secrets: those that settings name, and those that providers look for."""

from collections.abc import Mapping

from callboard.actors.secrets import Secrets
from callboard.deploy.settings import PROVIDER_KEYS, Settings


def secrets_of(settings: Settings, environ: Mapping[str, str]) -> Secrets:
    """What must not be in an event or a log line."""
    named = {backend.api_key_env for backend in settings.backends.values()}
    names = {*named, *PROVIDER_KEYS.values(), settings.privacy.master_key_env} - {""}
    return Secrets(environ.get(name, "") for name in names)
