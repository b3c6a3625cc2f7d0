"""Hand-offs: what goes along, when they are refused or too late, and on what ways mail comes."""

import asyncio

import pytest

from callboard.actors.agents.definition import agent
from callboard.actors.agents.errors import MessageFailed, StepFailed
from callboard.actors.agents.host import Host
from callboard.bus.entities import BUDGET, Entities
from callboard.events.agent_events import Received, Sent
from callboard.events.context import Put, Say


async def test_a_slice_of_the_budget_goes_along(theatre):
    """A budget of its own, cut off from what the sender may spend; one that hands on without a limit hands on that."""

    @agent("boss")
    async def boss(turn, most: int):
        return await turn.handoff("ask", "clerk", 0, budget="team", max_cost=most)

    @agent("clerk")
    async def clerk(turn, _message):
        return [turn.budget, *await turn.handoff("ask", "helper", 0), await turn.handoff("cut", "last", 0, max_cost=10)]

    @agent("helper")
    async def helper(turn, _message):
        return [turn.budget]

    @agent("last")
    async def last(turn, _message):
        return turn.budget

    await theatre.host(boss, clerk, helper, last)
    await theatre.board.set_budget("team", limit=1000)
    own, handed_on, cut = await (await theatre.board.send("boss", 300)).result(5)
    assert own == handed_on != "team"
    budgets = Entities(theatre.bus.log, BUDGET, "test")
    found = [(await budgets.load(name)).state for name in (own, cut)]
    assert [(each.limit, each.parent) for each in found] == [(300, "team"), (10, own)]


async def test_a_slice_of_nothing_is_an_error(theatre, monkeypatch):
    """It says what to name."""
    monkeypatch.setattr("callboard.actors.agents.activation.BACKOFF_S", ())

    @agent("boss")
    async def boss(turn, _message):
        return await turn.handoff("ask", "boss/2", 0, max_cost=1)

    await theatre.host(boss)
    with pytest.raises(MessageFailed, match="a hand-off with max_cost needs a budget to take it from: name one"):
        await (await theatre.board.send("boss", 0)).result(5)


async def test_each_receiver_gets_its_own_fork(theatre, monkeypatch):
    """As the context is at the time; what is said in a fork is seen there alone until it is merged."""
    monkeypatch.setattr("callboard.actors.agents.activation.BACKOFF_S", (0.0,))
    runs = []

    @agent("editor")
    async def edit(turn, _message):
        await turn.change("plan", "plan", Say("user", "two parts"), Put("parts", 2))
        both = [turn.handoff(f"part {n}", f"author/{n}", n, contexts=["plan", "notes"]) for n in range(2)]
        answers = await turn.gather(*both)
        runs.append(answers)
        if len(runs) == 1:
            raise OSError("again")
        for fork, *_ in answers:
            await turn.run(f"merge {fork}", turn.context("plan").merge, fork)
        return answers

    @agent("author")
    async def write(turn, number: int):
        plan, notes = turn.contexts
        seen = [said.content for said in (await plan.read()).messages]
        await turn.change("write", plan.id, Say("assistant", f"part {number}"))
        return [plan.id, notes.id, seen, (await notes.read()).facts["tone"].value]

    await theatre.board.context("notes").put("tone", "dry")
    await theatre.host(edit, write)
    one, other = await (await theatre.board.send("editor", 0)).result(5)
    assert runs == [[one, other]] * 2
    assert len({one[0], one[1], other[0], other[1], "plan", "notes"}) == 6
    assert one[2:] == other[2:] == [["two parts"], "dry"]
    said = [said.content for said in (await theatre.board.context("plan").read()).messages]
    assert said == ["two parts", "part 0", "part 1"]
    sent = [event for event in await theatre.events("editor") if isinstance(event, Sent)]
    assert [len(each.handoff.manifest) for each in sent] == [2, 2]
    plan, _ = sent[0].handoff.manifest
    assert (plan.context, plan.version) in {(one[0], 1), (other[0], 1)}
    assert plan.tokens > 0


def crew(log: list):
    """A boss that asks a clerk and tells a scribe, both of whom write down what they got."""

    @agent("boss")
    async def boss(turn, number: int):
        answer = await turn.handoff("ask", f"clerk/{number % 2}", number)
        await turn.send("tell", "scribe", answer)
        await turn.send("tell again", "scribe", -answer)
        return answer

    @agent("clerk")
    async def clerk(turn, number: int):
        await turn.run("write", log.append, ("clerk", number))
        return number + 1

    @agent("scribe")
    async def scribe(turn, number: int):
        await turn.run("write", log.append, ("scribe", turn.sender, number))

    return boss, clerk, scribe


async def settled(theatre, log: list, number: int) -> None:
    async with asyncio.timeout(10):
        while len(log) < number:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert len(log) == number


async def test_mail_that_only_the_queue_brings_comes_once_and_in_order(theatre, monkeypatch):
    """Nothing depends on a sender's host bringing it itself."""
    monkeypatch.setattr(Host, "_post", lambda *_: None)
    log = []
    for _ in range(2):
        await theatre.host(*crew(log))
    sent = [await theatre.board.send(f"boss/{n}", n) for n in range(10)]
    assert await asyncio.gather(*(message.result(10) for message in sent)) == [n + 1 for n in range(10)]
    await settled(theatre, log, 30)
    assert sorted(entry for entry in log if entry[0] == "clerk") == [("clerk", n) for n in range(10)]
    for n in range(10):
        assert [entry[2] for entry in log if entry[:2] == ("scribe", f"boss/{n}")] == [n + 1, -n - 1]
    numbers = {}
    for event in await theatre.events("scribe"):
        if isinstance(event, Received):
            numbers.setdefault(event.sender, []).append(event.number)
    assert numbers == {f"boss--{n}": [1, 2] for n in range(10)}


@pytest.mark.parametrize("mail", ["sent", "finished"])
async def test_a_host_that_dies_right_after_it_sent_loses_nothing(theatre, monkeypatch, mail):
    """What is in the log of the sender is brought by the queue, and what was done is not done again."""
    log, dying = [], asyncio.Event()
    post = Host._post

    def last_words(self, sender, sent):
        if self._services.host == "h1" and type(sent).__name__.lower() == mail:
            dying.set()
        elif not dying.is_set():
            post(self, sender, sent)

    monkeypatch.setattr(Host, "_post", last_words)
    first = await theatre.host(*crew(log))
    message = await theatre.board.send("boss/7", 7)
    await asyncio.wait_for(dying.wait(), 5)
    first.cancel()
    await theatre.host(*crew(log))
    dying.clear()
    assert await message.result(10) == 8
    await settled(theatre, log, 3)
    assert log == [("clerk", 7), ("scribe", "boss/7", 8), ("scribe", "boss/7", -8)]


async def test_a_hand_off_is_answered(theatre):
    """One agent asks another, and goes on with its answer."""

    @agent("boss")
    async def boss(turn, topic: str):
        found = await turn.handoff("ask", "scout/1", topic)
        return f"found {found}"

    @agent("scout")
    async def scout(turn, topic: str):
        assert turn.sender == "boss"
        return topic[::-1]

    await theatre.host(boss, scout)
    assert await (await theatre.board.send("boss", "abc")).result(5) == "found cba"
    assert await theatre.history("boss") == ["received", "taken", "sent", "answered", "finished"]
    assert await theatre.history("scout/1") == ["received", "taken", "finished"]


async def test_a_hand_off_to_nobody_or_in_a_circle_is_refused(theatre):
    """The step fails, and says why; the agent lives on."""

    async def ask(turn, to):
        try:
            return await turn.handoff("ask", to, to)
        except StepFailed as error:
            return [error.kind, str(error)]

    @agent("boss")
    async def boss(turn, to: str):
        return await ask(turn, to)

    @agent("clerk")
    async def clerk(turn, _message):
        return await ask(turn, "boss")

    await theatre.host(boss, clerk)
    kind, why = await (await theatre.board.send("boss", "clerck")).result(5)
    assert (kind, why) == ("refused", "step 'ask': nobody serves agents called 'clerck'; did you mean 'clerk'?")
    kind, why = await (await theatre.board.send("boss", "clerk")).result(5)
    assert (kind, why) == ("refused", "step 'ask': a circle: boss waits for clerk waits for boss")
    assert (await (await theatre.board.send("boss", "boss")).result(5))[0] == "refused"


async def test_a_late_answer_is_recorded_and_changes_nothing(theatre):
    """After its deadline a hand-off has failed, whatever comes later."""
    go = asyncio.Event()

    @agent("boss")
    async def boss(turn, _message):
        try:
            return await turn.handoff("ask", "slow", 1, deadline_s=0.05)
        except StepFailed as error:
            return error.kind

    @agent("slow")
    async def slow(turn, _message):
        await go.wait()
        return "done"

    await theatre.host(boss, slow)
    assert await (await theatre.board.send("boss", 0)).result(5) == "deadline"
    go.set()
    while "late" not in await theatre.history("boss"):
        await asyncio.sleep(0.01)
    expected = ["received", "taken", "paused", "sent", "stepped", "finished", "late"]
    assert await theatre.history("boss") == expected


async def test_an_answer_reaches_a_message_that_was_set_aside(theatre, monkeypatch):
    """When it is tried again the hand-off that was still open has its answer, and is not made again."""
    monkeypatch.setattr("callboard.actors.agents.activation.BACKOFF_S", ())
    go, asked, broken = asyncio.Event(), [], True

    @agent("slow")
    async def slow(turn, _message):
        asked.append(turn.message)
        await go.wait()
        return "done"

    @agent("rash")
    async def rash(turn, _message):
        waiting = asyncio.ensure_future(turn.handoff("ask", "slow", 1))
        await asyncio.sleep(0.05)
        if broken:
            waiting.cancel()
            raise OSError("in haste")
        return await waiting

    await theatre.host(rash, slow)
    message = await theatre.board.send("rash", 0)
    with pytest.raises(MessageFailed, match="in haste"):
        await message.result(5)
    go.set()
    while "answered" not in await theatre.history("rash"):
        await asyncio.sleep(0.01)
    broken = False
    await theatre.board.messages.requeue("rash", message.id)
    while "finished" not in await theatre.history("rash"):
        await asyncio.sleep(0.01)
    assert len(asked) == 1


async def test_a_hand_off_that_is_over_before_it_is_taken_up_is_not_worked_at(theatre):
    """Nobody waits for it any more."""
    go, worked = asyncio.Event(), []

    @agent("boss")
    async def boss(turn, number: int):
        try:
            return await turn.handoff("ask", "slow", number, deadline_s=0.1)
        except StepFailed as error:
            return error.kind

    @agent("slow")
    async def slow(turn, number: int):
        worked.append(number)
        await go.wait()

    await theatre.host(boss, slow)
    sent = [await theatre.board.send(f"boss/{number}", number) for number in range(2)]
    assert await asyncio.gather(*(message.result(5) for message in sent)) == ["deadline"] * 2
    go.set()
    while (await theatre.history("slow")).count("finished") < 2:
        await asyncio.sleep(0.01)
    assert len(worked) == 1
    assert "its deadline was over" in (await theatre.events("slow"))[-1].failure.message
