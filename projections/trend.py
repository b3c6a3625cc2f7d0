"""A straight line through measurements of which the newer count for more, in whole numbers.

What differs by less than `MEMORY` is lost in them, so x and y should be in small units.
"""

from typing import Final

from msgspec import Struct

MEMORY: Final = 64
"""About so many measurements make the line."""


class Trend(Struct, frozen=True, gc=False):
    """How y follows x: about ``base`` + ``slope`` · x, where neither is ever negative.

    ``x`` and ``y`` are moving averages, ``xx`` the variance of x and ``xy`` its covariance with y.
    """

    count: int = 0
    x: int = 0
    y: int = 0
    xx: int = 0
    xy: int = 0
    base: int = 0
    slope: int = 0

    def learn(self, x: int, y: int) -> "Trend":
        """With one more measurement. The first ones are averaged, later ones move the line by a share."""
        count = min(self.count + 1, MEMORY)
        dx, dy = x - self.x, y - self.y
        mean_x, mean_y = self.x + dx // count, self.y + dy // count
        xx = max(self.xx + (dx * (x - mean_x) - self.xx) // count, 0)
        xy = self.xy + (dx * (y - mean_y) - self.xy) // count
        most = mean_y // mean_x if mean_x > 0 else 0
        slope = min(max(xy // xx, 0), most) if xx else 0
        return Trend(count, mean_x, mean_y, xx, xy, max(mean_y - slope * mean_x, 0), slope)
