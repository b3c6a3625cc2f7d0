"""For all tests: the router's matrices are small, and threads for them only get in each other's way."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
