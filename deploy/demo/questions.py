"""The demo's questions: short real tasks of ten kinds, and how each answer is checked, as plain data.

Small models answer best by example, so every kind carries a few. What has no single right answer has no check,
and is never counted as right or wrong. Checked answers are data: nothing that a model wrote is executed.
"""

import json
import re
from typing import Any, Final, TypeAlias

from msgspec import Struct

from callboard.events.chat import Message
from callboard.events.task_spec import Needs, TaskSpec


class Exactly(Struct, frozen=True):
    """The whole answer is this text, but for case, blanks and punctuation around it."""

    text: str


class Mentions(Struct, frozen=True):
    """The answer holds at least one of these as whole words, but for case."""

    any_of: tuple[str, ...]


class Fields(Struct, frozen=True):
    """The answer is a JSON object with at least these values, but for case."""

    values: dict[str, str | int]


Check: TypeAlias = Exactly | Mentions | Fields | None


class Kind(Struct, frozen=True):
    """What the questions of one kind share.

    Attributes:
        name: also a tag of its tasks, by which quality is learnt.
        system: the instruction.
        examples: question and answer, before every question.
        max_tokens: enough for a whole answer.
        capability: what a backend must offer.
        schema: JSON Schema that holds the answer in shape.
        stop: what ends an answer.
    """

    name: str
    system: str
    examples: tuple[tuple[str, str], ...]
    max_tokens: int
    capability: str = "chat"
    schema: dict[str, Any] | None = None
    stop: tuple[str, ...] = ("\n",)


class Question(Struct, frozen=True):
    """One question, and how its answer is checked; ``None`` when only a reader could say."""

    kind: Kind
    prompt: str
    check: Check = None

    def spec(self) -> TaskSpec:
        """The task to submit: instruction, examples and question, without randomness."""
        turns = [
            message
            for asked, answered in self.kind.examples
            for message in (Message(role="user", content=asked), Message(role="assistant", content=answered))
        ]
        return TaskSpec(
            input=(*turns, Message(role="user", content=self.prompt)),
            system=self.kind.system,
            needs=Needs(capabilities=(self.kind.capability,)),
            max_tokens=self.kind.max_tokens,
            temperature=0.0,
            stop=self.kind.stop,
            schema=self.kind.schema,
            tags=(self.kind.name,),
        )


def correct(question: Question, answer: str) -> bool | None:
    """Whether an answer passes the question's check; ``None`` when it has none."""
    match question.check:
        case None:
            return None
        case Exactly(text):
            return _plain(answer) == _plain(text)
        case Mentions(any_of):
            return any(re.search(rf"(?<!\w){re.escape(text)}(?!\w)", answer, re.IGNORECASE) for text in any_of)
        case Fields(values):
            return _holds(answer, values)


def _plain(text: str) -> str:
    return text.casefold().strip(" \t\n.,!?:;\"'`*")


def _holds(answer: str, values: dict[str, str | int]) -> bool:
    try:
        found = json.loads(answer)
    except ValueError:
        return False
    return isinstance(found, dict) and all(
        _plain(str(found.get(name))) == _plain(str(value)) for name, value in values.items()
    )


SENTIMENT: Final = Kind(
    name="sentiment",
    system="Say whether the review is positive or negative. Answer with one word.",
    examples=(
        ("Review: The room was dirty and the staff was rude.", "negative"),
        ("Review: A lovely evening, we will come again!", "positive"),
        ("Review: It broke after two days.", "negative"),
        ("Review: Fast, quiet and easy to use.", "positive"),
    ),
    max_tokens=4,
)

TOPIC: Final = Kind(
    name="topic",
    system="Is the headline about sport, politics or weather? Answer with one word.",
    examples=(
        ("football", "sport"),
        ("the president", "politics"),
        ("rain and wind", "weather"),
        ("The team won the match.", "sport"),
        ("Voters go to the polls.", "politics"),
        ("Snow is expected tonight.", "weather"),
    ),
    max_tokens=4,
)

SORTING: Final = Kind(
    name="sorting",
    system="Is it a fruit, an animal or a tool? Answer with one word.",
    examples=(
        ("apple", "fruit"),
        ("tiger", "animal"),
        ("hammer", "tool"),
        ("pear", "fruit"),
        ("dog", "animal"),
        ("saw", "tool"),
    ),
    max_tokens=4,
)

EXTRACTION: Final = Kind(
    name="extraction",
    system="Write the person's name, age and city as JSON.",
    examples=(
        ("Peter Hill is 41 years old and lives in Oslo.", '{"name": "Peter Hill", "age": 41, "city": "Oslo"}'),
        ("From Rome comes Julia Costa, aged 29.", '{"name": "Julia Costa", "age": 29, "city": "Rome"}'),
    ),
    max_tokens=40,
    capability="schema",
    schema={
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 40},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
            "city": {"type": "string", "maxLength": 40},
        },
        "required": ["name", "age", "city"],
        "additionalProperties": False,
    },
)

ARITHMETIC: Final = Kind(
    name="arithmetic",
    system="Work it out. Answer with the number only.",
    examples=(
        ("7 + 2 =", "9"),
        ("10 - 6 =", "4"),
        ("3 * 4 =", "12"),
        ("8 + 5 =", "13"),
        ("15 - 5 =", "10"),
        ("2 * 9 =", "18"),
    ),
    max_tokens=6,
)

TRIVIA: Final = Kind(
    name="trivia",
    system="Answer with a word or a name.",
    examples=(
        ("What is the capital of Spain?", "Madrid"),
        ("Who painted the Mona Lisa?", "Leonardo da Vinci"),
        ("Which planet is closest to the sun?", "Mercury"),
    ),
    max_tokens=12,
)

TRANSLATION: Final = Kind(
    name="translation",
    system="Translate from English to French.",
    examples=(("cat", "chat"), ("the house", "la maison"), ("good evening", "bonsoir"), ("red", "rouge")),
    max_tokens=12,
)

CODE: Final = Kind(
    name="code",
    system="Write one Python expression.",
    examples=(
        ("the length of the list items", "len(items)"),
        ("the first element of items", "items[0]"),
        ("text in lower case", "text.lower()"),
        ("the square root of x", "math.sqrt(x)"),
    ),
    max_tokens=16,
    capability="code",
)

CORRECTION: Final = Kind(
    name="correction",
    system="Correct the sentence.",
    examples=(
        ("She go to school.", "She goes to school."),
        ("i like tea", "I like tea."),
        ("They was late.", "They were late."),
        ("He have two dog.", "He has two dogs."),
    ),
    max_tokens=20,
)

SUMMARY: Final = Kind(
    name="summary",
    system="Summarise the text in a few words.",
    examples=(
        ("The meeting is cancelled because the room is being painted.", "No meeting."),
        ("Our shop will be closed for two weeks while the staff is on holiday.", "Shop closed for two weeks."),
        ("The bridge is being repaired, so cars have to take the long way round.", "Bridge closed to cars."),
    ),
    max_tokens=24,
)

QUESTIONS: Final = (
    Question(SENTIMENT, "Review: I love this phone, the camera is wonderful.", Exactly("positive")),
    Question(SENTIMENT, "Review: Terrible. I want my money back.", Exactly("negative")),
    Question(SENTIMENT, "Review: The soup was cold and the waiter forgot us.", Exactly("negative")),
    Question(SENTIMENT, "Review: Comfortable shoes, worth every cent.", Exactly("positive")),
    Question(TOPIC, "A storm hits the coast.", Exactly("weather")),
    Question(TOPIC, "The striker scored two goals.", Exactly("sport")),
    Question(TOPIC, "Parliament passes the new law.", Exactly("politics")),
    Question(TOPIC, "The tennis final starts today.", Exactly("sport")),
    Question(SORTING, "banana", Exactly("fruit")),
    Question(SORTING, "horse", Exactly("animal")),
    Question(SORTING, "screwdriver", Exactly("tool")),
    Question(SORTING, "pliers", Exactly("tool")),
    Question(
        EXTRACTION,
        "Anna Berg is 34 years old and lives in Malmo.",
        Fields({"name": "Anna Berg", "age": 34, "city": "Malmo"}),
    ),
    Question(
        EXTRACTION,
        "Tom Silva, 52, has moved to Lisbon.",
        Fields({"name": "Tom Silva", "age": 52, "city": "Lisbon"}),
    ),
    Question(
        EXTRACTION,
        "In Kyoto lives Mei Tanaka, who turned 19 in May.",
        Fields({"name": "Mei Tanaka", "age": 19, "city": "Kyoto"}),
    ),
    Question(
        EXTRACTION,
        "Omar Haddad of Cairo celebrated his 60th birthday.",
        Fields({"name": "Omar Haddad", "age": 60, "city": "Cairo"}),
    ),
    Question(ARITHMETIC, "7 + 5 =", Exactly("12")),
    Question(ARITHMETIC, "6 * 7 =", Exactly("42")),
    Question(ARITHMETIC, "20 + 30 =", Exactly("50")),
    Question(ARITHMETIC, "17 + 26 =", Exactly("43")),
    Question(TRIVIA, "What is the capital of Japan?", Mentions(("Tokyo",))),
    Question(TRIVIA, "Who wrote Romeo and Juliet?", Mentions(("Shakespeare",))),
    Question(TRIVIA, "What is the largest ocean?", Mentions(("Pacific",))),
    Question(TRIVIA, "Who was the first man on the moon?", Mentions(("Armstrong",))),
    Question(TRANSLATION, "dog", Mentions(("chien",))),
    Question(TRANSLATION, "thank you", Mentions(("merci",))),
    Question(TRANSLATION, "the book", Mentions(("livre",))),
    Question(TRANSLATION, "water", Mentions(("eau",))),
    Question(CODE, "text in upper case", Exactly("text.upper()")),
    Question(CODE, "the last element of items", Exactly("items[-1]")),
    Question(CODE, "the sum of the list items", Exactly("sum(items)")),
    Question(CODE, "the largest element of items", Exactly("max(items)")),
    Question(CORRECTION, "He don't like fish.", Exactly("He doesn't like fish.")),
    Question(CORRECTION, "We is happy.", Exactly("We are happy.")),
    Question(CORRECTION, "she have a car", Exactly("She has a car.")),
    Question(SUMMARY, "Because of heavy snow, all trains to the north are about two hours late this morning."),
    Question(SUMMARY, "The city opened a new library with forty thousand books, a cafe and a garden."),
)
"""All of them, kind by kind; shuffle before use."""
