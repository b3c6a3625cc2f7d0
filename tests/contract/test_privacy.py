"""What is about persons, on both buses: sealed where it is kept, opened for who has the key, gone when forgotten."""

import asyncio

import pytest
from msgspec.structs import replace

from callboard.actors.board import Board
from callboard.actors.claim_check import INLINE, fetched, input_of, put_aside, text_of
from callboard.actors.contexts import contexts_on
from callboard.actors.forgetting import said_of
from callboard.bus import keyring
from callboard.bus.entities import AGENT, NEWEST, TASK, Entities
from callboard.bus.entity_snapshots import EntitySnapshots
from callboard.bus.errors import Locked
from callboard.bus.subjects import entity
from callboard.events.agent_events import Finished, Received, Remembered, Taken, Value
from callboard.events.approval import Approved
from callboard.events.chat import Message
from callboard.events.context import Put, Say
from callboard.events.envelope import decode, message_hash
from callboard.events.errors import Forgotten, InvalidId, InvalidInput, Undecodable
from callboard.events.person import Forgotten as PersonForgotten
from callboard.events.person import Keyed, Person
from callboard.events.task import Cancelled, Status, Submitted
from callboard.events.task_spec import TaskSpec

ANN = "customer-42"
SECRET = "marmalade"


async def stored(bus) -> bytes:
    """All bytes of the log."""
    return b"\n".join([record.data async for batch in bus.log.read_all() for record in batch])


async def check_chain(bus, prefix: str) -> None:
    """Each message of an entity has the hash of the one before."""
    before = ""
    for record in await bus.log.read(prefix):
        assert {envelope.prevhash for envelope in decode(record.data)} == {before}
        before = message_hash(record.data)


async def test_a_key_is_kept_until_it_is_erased(connect):
    """There is one under a name; only what is meant is erased, and then the name is free again."""
    keys, others = (await connect()).keys, (await connect()).keys
    assert await keys.get("ann") is None
    assert not await keys.erase("ann", b"1")
    assert await keys.add("ann", b"1")
    assert not await others.add("ann", b"2")
    assert await others.add("ann", b"1")  # a retry
    assert await others.get("ann") == b"1"
    assert not await others.erase("ann", b"2")
    assert await keys.add("bob", b"3")
    assert await keys.names() == ["ann", "bob"]
    assert await others.erase("ann", b"1")
    assert await keys.get("ann") is None
    assert await others.add("ann", b"2")
    assert await keys.get("ann") == b"2"
    assert await keys.names() == ["ann", "bob"]


@pytest.mark.parametrize("given", [SECRET, [{"role": "user", "content": SECRET}], SECRET * INLINE])
async def test_a_private_task_is_read_by_who_has_the_key(connect, given):
    """Its text is neither in the log nor in the blob store; everybody with the master key has it all the same."""
    bus, other = await connect(), await connect()
    handle = await Board(bus, "one").submit(given, system=SECRET, private=ANN, tags=("public",))
    data = await stored(bus)
    assert SECRET.encode() not in data
    assert b'"tags":["public"]' in data
    spec = (await Entities(other.log, TASK, "two", privacy=other.privacy).load(handle.id)).state.spec
    said = await input_of(other, spec)
    assert said == (given if isinstance(given, str) else (Message("user", SECRET),))
    assert spec.system == SECRET
    if len(given) > INLINE:
        assert SECRET.encode() not in await bus.blobs.get(spec.input.sha256)


async def test_all_that_is_said_of_a_private_task_is_sealed(bus):
    """Judgements, reasons and all: whoever has no keys sees what everybody may know, and can say nothing."""
    board = Board(bus, "one")
    handle = await board.submit(SECRET, private=ANN)
    await board.tasks.tell(handle.id, lambda _: [Cancelled(SECRET)])
    assert (await handle.state()).reason == SECRET
    assert SECRET.encode() not in await stored(bus)
    strange = Entities(bus.log, TASK, "two")
    assert (await strange.load(handle.id)).state.reason == f"[private: {ANN}]"
    with pytest.raises(Locked, match="no keys"):
        await strange.tell("t-2", lambda _: [Submitted(TaskSpec("x", private=ANN))])


async def test_forgetting_makes_it_unreadable_for_everybody(connect):
    """Also for who had it in memory; hash chains hold, the waiting task ends, and the log says who wanted that."""
    bus, other = await connect(), await connect()
    board, second = Board(bus, "one"), Board(other, "two")
    handle = await board.submit(SECRET, private=ANN)
    large = await board.submit(SECRET * INLINE, private=ANN)
    kept = await board.submit("public")
    await second.tasks.load(handle.id)
    blob = (await second.tasks.load(large.id)).state.spec.input
    said = await board.forget(ANN, by="dpo", reason="asked for it")
    assert (said.events, said.of) == (2, {"task": tuple(sorted([handle.id, large.id], key=said.of["task"].index))})
    outcome = await board.ended(handle.id)
    assert outcome.status is Status.DEAD
    assert outcome.reason == f"{ANN} has been forgotten: what was said can't be read any more"
    for reader in (board, second):
        task = (await reader.tasks.load(handle.id, at_least=NEWEST)).state
        with pytest.raises(Forgotten, match=ANN):
            await input_of(reader.bus, task.spec)
        with pytest.raises(Forgotten):
            await fetched(reader.bus, blob)
    assert (await kept.state()).spec.input == "public"
    events = [envelope.event for each in await bus.log.read(entity("person", ANN)) for envelope in decode(each.data)]
    assert events == [Keyed(1), PersonForgotten(1, "dpo", "asked for it")]
    for prefix in (entity("task", handle.id), entity("task", large.id), entity("person", ANN)):
        await check_chain(bus, prefix)
    again = await board.forget(ANN)
    assert (again.generation, again.forgotten) == (1, True)


async def test_after_that_a_person_is_new(connect):
    """What is said later has another key, which opens nothing of before; each process sees that."""
    bus, other = await connect(), await connect()
    board, second = Board(bus, "one"), Board(other, "two")
    first = await board.submit("first", private=ANN)
    await second.tasks.load(first.id)
    await board.forget(ANN)
    then = await second.submit("then", private=ANN)
    assert (await board.tasks.load(then.id)).state.spec.input == "then"
    assert (await said_of(bus, ANN)).generation == 2
    for reader in (board, second):
        with pytest.raises(Forgotten):
            await input_of(reader.bus, (await reader.tasks.load(first.id, at_least=NEWEST)).state.spec)


async def test_what_is_still_said_of_the_forgotten_is_not_kept(bus):
    """A late answer has its place in the history, and no word of it can be read, not even by who wrote it."""
    board = Board(bus, "one")
    handle = await board.submit(SECRET, private=ANN)
    await bus.privacy.keyring.destroy(ANN, "", "")
    await board.tasks.tell(handle.id, lambda _: [Cancelled(SECRET)])
    assert (await handle.state()).reason == f"[forgotten: {ANN}]"
    assert not await bus.keys.names()
    with pytest.raises(Forgotten):
        await fetched(bus, await put_aside(bus, b"x", private=ANN))


async def test_a_key_that_is_lost_is_not_taken_for_forgotten(bus):
    """Nothing is dropped, and no new key is made: it says how to mend that."""
    board = Board(bus, "one")
    handle = await board.submit(SECRET, private=ANN)
    await bus.keys.erase(ANN, await bus.keys.get(ANN))
    fresh = Board(bus, "two")
    bus.privacy.keyring._held.clear()
    for doing in (fresh.tasks.load(handle.id), fresh.submit("x", private=ANN)):
        with pytest.raises(Locked, match="restore"):
            await doing
    await board.forget(ANN, reason="lost")
    assert (await fresh.tasks.load(handle.id)).state.spec.system is None


async def test_forgetting_that_was_cut_off_is_taken_up(bus):
    """The log says that the key is destroyed, and it is there still: the next who comes destroys it."""
    board = Board(bus, "one")
    first = await board.submit("first", private=ANN)
    person = Entities(bus.log, keyring.PERSON, "cut off")
    await person.tell(ANN, lambda _: [PersonForgotten(1)])
    bus.privacy.keyring._held.clear()
    await board.submit("then", private=ANN)
    with pytest.raises(Forgotten):
        await input_of(bus, (await Board(bus, "two").tasks.load(first.id)).state.spec)


async def test_a_key_that_nobody_came_to_tell_of_is_destroyed_too(bus):
    """It was made, and the log does not say so yet: forgetting counts for it all the same."""
    keys = bus.privacy.keyring
    await keys._make(ANN, 1)
    sealed = await bus.privacy.seal(ANN, "blob", b"x")
    await keys.destroy(ANN, "", "")
    assert await keys.state(ANN) == Person(ANN, 1, forgotten=True)
    with pytest.raises(Forgotten):
        await bus.privacy.open(ANN, "blob", sealed)


async def test_many_begin_to_speak_of_a_person_at_a_time(connect):
    """They agree on one key, also while somebody forgets the person."""
    boards = [Board(await connect(), str(number)) for number in range(3)]
    tasks = await asyncio.gather(*(board.submit("x", private=ANN) for board in boards for _ in range(3)))
    assert [(await boards[0].tasks.load(task.id, at_least=NEWEST)).state.spec.input for task in tasks] == ["x"] * 9
    events = await boards[0].bus.log.read(entity("person", ANN))
    assert len(events) == 1
    await asyncio.gather(boards[0].forget(ANN), *(board.submit("y", private=ANN) for board in boards))
    state = await boards[0].bus.privacy.keyring.state(ANN)
    assert (state.generation, state.forgotten) in {(1, True), (2, False)}


async def test_a_key_that_was_made_since_it_was_looked_for_is_not_lost(connect):
    """Two begin to speak of a person; the slower one looks for the key before, and at the person after."""
    slow, quick = (await connect()).privacy.keyring, (await connect()).privacy.keyring
    keys = slow._keys

    class Late:
        async def get(self, name):
            slow._keys = keys
            data = await keys.get(name)
            await quick.welcome(name)
            return data

    slow._keys = Late()
    assert (await slow.welcome(ANN)).generation == 1


async def test_keys_are_held_for_a_minute(connect):
    """Whoever did not hear that a key was destroyed finds out."""
    bus, deaf = await connect(), await connect()
    now = [0.0]
    deaf.privacy.keyring._clock = lambda: now[0]
    deaf.privacy.keyring._listen = _nothing
    board, other = Board(bus, "one"), Board(deaf, "two")
    handle = await board.submit(SECRET, private=ANN)
    assert (await other.tasks.load(handle.id)).state.spec.input == SECRET
    await board.forget(ANN)
    now[0] = keyring.FRESH_S + 1
    then = await other.submit("then", private=ANN)
    assert (await board.tasks.load(then.id)).state.spec.input == "then"
    now[0] += keyring.HELD_S + 1
    with pytest.raises(Forgotten):
        await input_of(deaf, (await other.tasks.load(handle.id)).state.spec)


async def _nothing() -> None:
    return None


async def test_nothing_sealed_counts_elsewhere(bus):
    """What is moved from one entity to another is no event there."""
    board = Board(bus, "one")
    one, other = [await board.submit(text, private=ANN) for text in ("one", "other")]
    (moved,), (place,) = [decode((await bus.log.read(entity("task", task.id)))[0].data) for task in (one, other)]
    with pytest.raises(Undecodable, match="altered"):
        await bus.privacy.opened([replace(place, sealed=moved.sealed)])


@pytest.mark.parametrize("wrong", ["", "a.b", "x" * 65, "Ann Lee", "*"])
async def test_a_name_that_can_be_none(bus, wrong):
    """It is refused in one line, and nothing is stored."""
    with pytest.raises((InvalidId, InvalidInput), match=r"private|input") as refused:
        await Board(bus, "one").submit("x", private=wrong)
    assert "\n" not in str(refused.value)
    assert await bus.log.end() == 0


async def test_who_was_never_told_of(bus):
    """There is nothing to forget."""
    with pytest.raises(InvalidInput, match="nothing private"):
        await Board(bus, "one").forget("nobody")


async def test_a_context_is_about_one_person(bus):
    """From its beginning on; what is about somebody goes nowhere else, and forks are as private."""
    board = Board(bus, "one")
    trip, plan = board.context("trip", private=ANN), board.context("plan")
    await trip.say(SECRET)
    await trip.put("where", SECRET)
    await trip.put("how", SECRET * INLINE)
    await trip.attach("map", SECRET.encode() * 9)
    await plan.say("public")
    fork = await board.context("trip").fork("trip-2")
    await board.context("trip-2").say(SECRET)
    await trip.merge(fork)
    await trip.compact(0, 1, SECRET)
    assert SECRET.encode() not in await stored(bus)
    content = await board.context("trip").read()
    assert [said.content for said in content.messages] == [SECRET, SECRET]
    assert await trip.value("how") == SECRET * INLINE
    assert await trip.value("map") == SECRET.encode() * 9
    for doing in (
        board.context("plan", private=ANN).say("x"),
        board.context("trip", private="bob").say("x"),
        board.context("trip", private="bob").fork(),
        board.submit("x", context="trip", private="bob"),
    ):
        with pytest.raises(InvalidInput, match=r"about|private"):
            await doing
    private = await board.context("plan", private=ANN).fork("plan-2")
    await private.say(SECRET)
    with pytest.raises(InvalidInput, match="stays there"):
        await plan.merge("plan-2")
    assert (await private.merge("plan")) is None
    task = await board.submit("x", context="trip")
    assert (await task.state()).spec.private == ANN
    child = await board.submit("x", parent=task.id)
    assert (await child.state()).spec.private == ANN
    await board.forget(ANN)
    content = await contexts_on(bus, "two").content("trip")
    for said in content.messages:
        with pytest.raises(Forgotten):
            await text_of(bus, said.content)
    with pytest.raises(Forgotten):
        await trip.value("where")
    await check_chain(bus, entity("context", "trip"))


async def test_an_approval_can_be_private(bus):
    """Its action, its question, its hash and the notes: who answers still has to name what it is about."""
    board = Board(bus, "one")
    asked = await board.ask({"pay": SECRET}, question=SECRET, private=ANN)
    approval = await board.approvals.state(asked.id)
    assert approval.requested.action == {"pay": SECRET}
    await board.approvals.answer(asked.id, Approved(approval.requested.hash, "bob", SECRET))
    data = await stored(bus)
    assert SECRET.encode() not in data
    assert approval.requested.hash.encode() not in data
    waits = await board.ask({"pay": SECRET}, private=ANN)
    await board.forget(ANN, by="dpo")
    approval = await Board(bus, "two").approvals.state(asked.id)
    assert (approval.requested.action, approval.note) == (f"[forgotten: {ANN}]",) * 2
    denied = await Board(bus, "two").approvals.state(waits.id)
    assert (denied.status, denied.by, denied.note.partition(":")[0]) == ("denied", "dpo", f"{ANN} has been forgotten")


async def test_a_schedule_can_be_private(bus):
    """What it will ask is read when it is due."""
    board = Board(bus, "one")
    await board.schedule("daily", "0 9 * * *", SECRET, private=ANN)
    assert SECRET.encode() not in await stored(bus)
    (schedule,) = await Board(bus, "two").schedules.all()
    assert schedule.planned.spec.input == SECRET


@pytest.mark.parametrize("persons", [[ANN, ANN], [ANN, "bob"]])
async def test_a_snapshot_knows_of_one_person_at_most(connect, persons):
    """It is sealed as a whole, so it is not used when that one is forgotten; of several there is none."""
    bus = await connect()
    saves = EntitySnapshots(bus, AGENT, saves=True, every=4)
    agents = Entities(bus.log, AGENT, "host", snapshots=saves, privacy=bus.privacy)
    for number, person in enumerate(persons, 1):
        await bus.privacy.keyring.welcome(person)
        await agents.tell("clerk", lambda _, n=number, p=person: [Received(f"m{n}", Value(SECRET), private=p)])
        await agents.tell("clerk", lambda agent, n=number: [Taken(f"m{n}", "h", agent.epoch + 1)])
        await agents.tell("clerk", lambda _, n=number: [Remembered(f"k{n}", Value(SECRET)), Finished(f"m{n}")])
    await saves.settled()
    snapshot = await bus.snapshots.load("agent/clerk")
    assert snapshot[32:].startswith(b"private customer-42\n")  # of the time when it knew of one
    assert SECRET.encode() not in snapshot
    other = await connect()
    reader = Entities(
        other.log, AGENT, "reader", snapshots=EntitySnapshots(other, AGENT, every=4), privacy=other.privacy
    )
    assert (await reader.load("clerk")).state.memory["k2"] == Value(SECRET)
    await other.privacy.keyring.destroy(ANN, "", "")
    memory = (await reader.load("clerk", at_least=NEWEST)).state.memory
    assert memory["k1"].aside.private == ANN
    assert (memory["k2"].json == SECRET) == (persons[1] == "bob")


async def test_a_change_is_as_large_as_a_message_can_hold(bus):
    """Sealed it is larger, so less of it is taken at a time; what is too large is refused in words."""
    trip = Board(bus, "one").context("trip", private=ANN)
    await trip.change(*(Say("user", "x" * 40_000) for _ in range(3)))
    with pytest.raises(InvalidInput, match="make it several"):
        await trip.change(*(Put(str(number), "x" * 40_000) for number in range(4)))
