"""Splitting a log in several: what may not be cut, whose each waiting submission is, and how money is divided.

What is taken out of the streams, `callboard.bus.splitting` does; `callboard.deploy.splitting` is all of it in order.
"""

from callboard.actors.splitting.crossing import check_uncut
from callboard.actors.splitting.shares import divide, settle
from callboard.actors.splitting.submissions import is_ours

__all__ = ["check_uncut", "divide", "is_ours", "settle"]
