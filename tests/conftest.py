"""For all tests: what they have in common.

The router's matrices are small, and threads for them only get in each other's way. No test fails because a machine is
slow. And what a file leaves behind complains, when it is collected, before the next file begins: not into the output
that a test of another file reads.
"""

import gc
import logging
import os
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


@pytest.fixture(scope="module", autouse=True)
def _left_as_found() -> Iterator[None]:
    handlers = list(logging.root.handlers)
    yield
    logging.root.handlers = handlers
    structlog.reset_defaults()
    gc.collect()
