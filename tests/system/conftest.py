"""Real weights, for the tests that need a real model."""

import asyncio
import os
from pathlib import Path

import pytest

from callboard.deploy.models.weights import SMOLLM2, FetchFailed, fetch


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2's weights, kept between runs."""
    folder = os.environ.get("CALLBOARD_TEST_MODELS") or Path.home() / ".cache" / "callboard" / "models"
    try:
        return asyncio.run(fetch(SMOLLM2, Path(folder), print))
    except FetchFailed as error:
        pytest.skip(str(error))
