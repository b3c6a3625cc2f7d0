"""A cron agent: it takes notes all day, and sums them up in the morning.

Run it with `callboard run examples/digest.py`, and give it notes with `callboard send digest "The cat is back."`. When
its time has come it tells a shared context: `callboard context show digests`.
"""

import callboard


@callboard.agent("digest", cron="0 9 * * 1-5", zone="Europe/Lisbon")
async def digest(turn: callboard.Turn, message: str | dict[str, object]) -> str:
    """Takes notes, and sums them up when it is time."""
    notes = turn.recall("notes", [])
    if isinstance(message, str):
        turn.remember("notes", [*notes, message])
        return f"noted: {len(notes) + 1} so far"
    if not notes:
        return "nothing to tell"
    text = await turn.model("sum up", "Sum up in a few words:\n" + "\n".join(notes), max_tokens=200)
    await turn.change("tell", "digests", callboard.Say("assistant", text))
    turn.remember("notes", [])
    return text
