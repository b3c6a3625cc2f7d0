"""An agent with a tool: try it with `callboard send greeter/ann "What time is it in Europe/Lisbon?"`."""

from datetime import datetime
from zoneinfo import ZoneInfo

import callboard


def local_time(zone: str) -> str:
    """The time of day in a time zone, such as Europe/Lisbon."""
    return datetime.now(ZoneInfo(zone)).strftime("%H:%M")


greeter = callboard.Agent("greeter", instructions="Be brief. Use your tools.", tools=[local_time], max_turns=5)
