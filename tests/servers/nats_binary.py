"""Whether tests that need a real nats-server can run here."""

import os

import pytest

from callboard.bus.errors import ServerError
from callboard.bus.server_binary import nats_server


async def needed() -> None:
    """Skip the test when there is no nats-server; on CI, where there must be one, fail it."""
    try:
        await nats_server()
    except ServerError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
