"""A research crew: an editor hands questions to researchers, asks a person, and then publishes.

Run it with `callboard run examples/crew.py`, and begin with `callboard send editor/1 "the Tagus"`. When its draft is
ready, `callboard approvals` shows what it wants to publish, and `callboard approve ID` lets it.

Whichever backends the node has answer the questions.
"""

import callboard


@callboard.agent("researcher")
async def research(turn: callboard.Turn, question: str) -> str:
    """Finds out one thing."""
    return await turn.model("ask", f"In one sentence: {question}", max_tokens=60)


@callboard.agent("editor")
async def edit(turn: callboard.Turn, topic: str) -> str:
    """Writes about a topic, and publishes what a person has seen."""
    questions = {"where": f"where is {topic}?", "who": f"who lives at {topic}?"}
    handed = (turn.handoff(name, f"researcher/{name}", asked, deadline_s=300) for name, asked in questions.items())
    draft = "\n".join(await turn.gather(*handed))
    allowed = await turn.approve(
        "publish", {"publish": draft}, question=f"Publish it, about {topic}?", expires_s=86_400
    )
    if allowed.status != "approved":
        return f"not published: {allowed.status}"
    await turn.change("archive", "published", callboard.Say("assistant", draft))
    turn.remember("published", turn.recall("published", 0) + 1)
    return f"Number {turn.recall('published')}:\n{draft}"
