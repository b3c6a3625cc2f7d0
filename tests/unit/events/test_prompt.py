"""What a model is given: conversations in an order that every API takes, summaries, instructions, and their measure."""

from hypothesis import given
from hypothesis import strategies as st

from callboard.events.chat import Message, ToolCall, prompt_length
from callboard.events.context import Say
from callboard.events.context_events import Compacted
from callboard.events.prompt import SUMMARY, conversation, measured, message_of, prompt, text_of_turn
from callboard.events.task_spec import Blob

ASK = Say("assistant", "", (ToolCall("1", "look", "{}"), ToolCall("2", "find", '{"a": 1}')))
IDS = st.sampled_from("123")

calls = st.lists(st.builds(ToolCall, IDS, st.text(max_size=4), st.text(max_size=9)), max_size=2).map(tuple)
said = st.builds(Say, st.sampled_from(["system", "user", "assistant"]), st.text(max_size=6), calls)
answers = st.builds(Say, st.just("tool"), st.text(max_size=6), st.just(()), st.none() | IDS)
summaries = st.builds(Compacted, st.just(0), st.just(1), st.text(max_size=6))
shown = st.lists(st.one_of(said, answers, summaries), max_size=12)


def messages(turns) -> list[Message]:
    return [message_of(turn, text_of_turn(turn)) for turn in turns]


def test_answers_stand_after_their_call():
    """Whoever spoke in between comes after them."""
    one, two = Say("tool", "seen", tool_call_id="1"), Say("tool", "found", tool_call_id="2")
    between, after = Say("user", "and?"), Say("assistant", "so")
    found = conversation([ASK, two, between, one, after])
    assert found.turns == (ASK, two, one, between, after)
    assert found.unpaired == ()


def test_equal_ids_are_answered_in_turn():
    """Servers count from 1 again and again: the first call gets the first answer."""
    call = Say("assistant", "", (ToolCall("1", "look", "{}"),))
    first, second = Say("tool", "first", tool_call_id="1"), Say("tool", "second", tool_call_id="1")
    assert conversation([call, first, call, second]).turns == (call, first, call, second)
    assert conversation([call, call, first, second]).turns == (call, first, call, second)
    assert conversation([call, first, call]).unpaired == ("1",)


def test_what_is_unpaired_is_told():
    """Calls without an answer and answers without a call."""
    assert conversation([ASK, Say("tool", "seen", tool_call_id="1")]).unpaired == ("2",)
    assert conversation([Say("tool", "x", tool_call_id="9"), Say("tool", "y")]).unpaired == ("9", "one without an id")
    assert conversation([Say("tool", "early", tool_call_id="1"), ASK]).unpaired == ("1", "2")


@given(shown)
def test_nothing_is_lost_and_every_answer_has_its_place(turns):
    """All that says something is there, once, in its order but for answers; those follow their call at once."""
    found = conversation(turns)
    apart = [turn for turn in found.turns if getattr(turn, "role", "") != "tool"]
    assert apart == [
        turn
        for turn in turns
        if getattr(turn, "role", "") != "tool" and (text_of_turn(turn) or getattr(turn, "tool_calls", ()))
    ]
    waiting: list[str] = []
    for turn in found.turns:
        if getattr(turn, "role", "") == "tool":
            waiting.remove(turn.tool_call_id)
        else:
            assert found.unpaired or not waiting
            waiting = [call.id for call in getattr(turn, "tool_calls", ())]
    assert found.unpaired or not waiting
    assert found.unpaired or len(found.turns) - len(apart) == sum(getattr(turn, "role", "") == "tool" for turn in turns)


@given(shown)
def test_what_is_measured_is_what_is_sent(turns):
    """Characters as they are estimated of any prompt; bytes cover ids too."""
    turns = conversation(turns).turns
    sent, found = messages(turns), measured(turns)
    assert found.messages == len(sent)
    assert found.calls == sum(len(message.tool_calls) for message in sent)
    assert found.characters == prompt_length(sent, None, ())
    assert found.size == sum(
        len(f"{m.content}{''.join(c.id + c.name + c.arguments for c in m.tool_calls)}{m.tool_call_id or ''}".encode())
        for m in sent
    )


def test_what_lies_aside_counts_by_its_size():
    """A text or a summary in the blob store is not read for that."""
    blob = Blob("ab" * 32, 70_000)
    found = measured([Say("user", "é"), Say("user", blob), Compacted(0, 1, blob)], b"mark", newest=True)
    assert (found.characters, found.size) == (1 + 140_000 + len(SUMMARY), 2 + 140_000 + len(SUMMARY))
    assert (found.prefix, found.newest) == (b"mark", "é")


def test_the_instructions_come_first():
    """What the context begins with as the system's word joins the task's own; later ones stay where they are."""
    told = [Message("system", "You plan."), Message("user", "hello"), Message("system", "It is late.")]
    assert prompt("Be brief.", told, "go on") == (
        Message("system", "Be brief.\n\nYou plan."),
        *told[1:],
        Message("user", "go on"),
    )
    assert prompt(None, told, (Message("assistant", "yes"),)) == (*told, Message("assistant", "yes"))
    assert prompt("Be brief.", told[1:], "") == (Message("system", "Be brief."), *told[1:])
    assert prompt("Be brief.", (), "hi") == (Message("system", "Be brief."), Message("user", "hi"))


def test_a_summary_says_that_it_is_one():
    """As a word of the user, since not every model takes instructions in the midst of a conversation."""
    assert messages([Compacted(0, 3, "They met.")]) == [Message("user", f"{SUMMARY}They met.")]
