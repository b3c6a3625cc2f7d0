"""Names of agents: ``writer``, or an instance, ``writer/customer-42``, and the ids that they have in the log."""

import re
from typing import Final

from callboard.events.agent_events import Defined
from callboard.events.errors import InvalidId, InvalidInput
from callboard.events.ids import shard_of

SEPARATOR: Final = "--"
"""Stands in an id for the slash of a name, which can be no part of a subject token's alphabet."""

LONGEST: Final = 64

_DEFINITION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_]|-(?!-))*")
_INSTANCE = re.compile(r"[A-Za-z0-9_-]+")


def checked_definition(name: str) -> str:
    """The name of a definition, if it can be one, else raise InvalidId."""
    if not _DEFINITION.fullmatch(name) or name.endswith("-") or len(name) > LONGEST:
        raise InvalidId(
            f"agent {name[:80]!r} is no name for a definition: begin with a letter or digit, go on with "
            "A-Z a-z 0-9 _ and single -"
        )
    return name


def id_of(name: str) -> str:
    """The id of the agent ``writer`` or ``writer/customer-42``; an id stays as it is. Raises InvalidId."""
    definition, part, instance = name.partition("/" if "/" in name else SEPARATOR)
    checked_definition(definition)
    if part and not _INSTANCE.fullmatch(instance):
        raise InvalidId(f"agent {name[:80]!r}: an instance is named by A-Z a-z 0-9 _ - after the slash")
    found = f"{definition}{SEPARATOR}{instance}" if instance else definition
    if len(found) > LONGEST:
        raise InvalidId(f"agent {name[:80]!r} is too long: at most {LONGEST} characters")
    return found


def definition_of(agent_id: str) -> str:
    """The name of the definition that an agent is an instance of."""
    return agent_id.partition(SEPARATOR)[0]


def name_of(agent_id: str) -> str:
    """An agent's id as people write it: ``writer/customer-42``."""
    return agent_id.replace(SEPARATOR, "/", 1)


def shard_of_named(name: str) -> int:
    """The shard of any entity by its id, or of an agent by its name. Raises InvalidId for a name that is none."""
    return shard_of(id_of(name) if "/" in name else name)


def person_of(defined: Defined | None, agent_id: str) -> str:
    """The person that an agent is about, as it is defined; empty for none. Raises InvalidInput without an instance."""
    if defined is None or not defined.private:
        return ""
    if isinstance(defined.private, str):
        return defined.private
    definition, _, instance = agent_id.partition(SEPARATOR)
    if not instance:
        raise InvalidInput(f"agent {definition} is private: name whom it is about, as {definition}/customer-42")
    return instance
