"""For all tests: what they have in common.

The router's matrices are small, and threads for them only get in each other's way. And no test fails because a machine
is slow.
"""

import os

from hypothesis import settings

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")
