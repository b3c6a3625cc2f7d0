"""What agents can reach from their host."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from callboard.actors.agents.bells import Bells
from callboard.actors.board import Board
from callboard.actors.commits import Commits
from callboard.bus.entities import Entities
from callboard.events.agent import AgentState
from callboard.events.agent_events import Defined, Mail

Post: TypeAlias = Callable[[str, Mail], None]
"""Brings mail on its way from the agent with that id, when it is in the log."""


class Services(NamedTuple):
    """``host`` is its id, ``known`` are the definitions that there are, by name.

    ``is_alive`` tells of another host, ``is_due`` whether what an agent rests for has come.
    """

    host: str
    board: Board
    entities: Entities[AgentState]
    commits: Commits[AgentState]
    bells: Bells
    known: Callable[[], Mapping[str, Defined]]
    is_alive: Callable[[str], bool]
    is_due: Callable[[str], bool]
    post: Post
