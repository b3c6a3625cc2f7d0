"""A person, or a tenant, that private data is about. What may happen to it, and its state.

The rules, kept by `decide`:

- Private data is encrypted under the person's key. Each key is a new generation, numbered from 1: its event says that
  there is one, never what it is.
- Forgetting destroys the key: what was said under it can't be read any more, by anybody. What is said of the same
  person later has a key of the next generation.
"""

from typing import ClassVar, TypeAlias, assert_never

from msgspec import Struct

from callboard.events.errors import IllegalTransition


class Keyed(Struct, frozen=True, gc=False, omit_defaults=True):
    """There is a key, the ``generation``-th of this person."""

    type: ClassVar[str] = "callboard.person.keyed.v1"
    generation: int


class Forgotten(Struct, frozen=True, gc=False, omit_defaults=True):
    """The key of this ``generation`` is destroyed; who wanted that is named by ``by``, and why by ``reason``."""

    type: ClassVar[str] = "callboard.person.forgotten.v1"
    generation: int
    by: str = ""
    reason: str = ""


PersonEvent: TypeAlias = Keyed | Forgotten


class Person(Struct, frozen=True, gc=False):
    """A person's state: the newest key's ``generation``, 0 if there never was one, and whether it is destroyed."""

    id: str
    generation: int = 0
    forgotten: bool = False


def decide(person: Person, wish: PersonEvent) -> list[PersonEvent]:
    """What the log should say when an actor wants to say ``wish``; ``[]`` when it has been said already.

    Raises IllegalTransition for a key that can't follow on the last one.
    """
    match wish:
        case Keyed():
            if wish.generation == person.generation + 1 and (person.forgotten or not person.generation):
                return [wish]
            if wish.generation == person.generation and not person.forgotten:
                return []
        case Forgotten():
            if wish.generation == person.generation and person.generation:
                return [] if person.forgotten else [wish]
        case _:
            assert_never(wish)
    newest = f"key {person.generation}" + (", which is destroyed" if person.forgotten else "")
    raise IllegalTransition(f"person {person.id} has {newest if person.generation else 'no key'}: read it again")


def evolve(person: Person, event: PersonEvent) -> Person:
    """The state after ``event``; total, since what is in the log has happened."""
    match event:
        case Keyed():
            return Person(person.id, event.generation)
        case Forgotten():
            return Person(person.id, event.generation, forgotten=True)
        case _:
            assert_never(event)
