"""What the streams are called."""

from typing import Final

EVENTS: Final = "EVENTS"
SUBMISSIONS: Final = "SUBMISSIONS"
TIMERS: Final = "TIMERS"
BLOBS: Final = "BLOBS"
SNAPSHOTS: Final = "SNAPSHOTS"
KEYS: Final = "KEYS"
CHECKPOINTS: Final = "CHECKPOINTS"
