"""A log that is written message by message."""

import pytest
from generators.audit_stories import Story


@pytest.fixture
def story() -> Story:
    """A log with two backends."""
    return Story()
