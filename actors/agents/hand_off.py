"""Hand-offs: to whom one may go, and what goes along."""

from collections.abc import Sequence
from datetime import datetime

from callboard.actors.agents.services import Services
from callboard.actors.strict_json import did_you_mean
from callboard.actors.submission import id_from
from callboard.events.agent import AgentState, Work
from callboard.events.agent_events import AgentEvent, HandOff, Manifest, Paused, Sent, StepFailure, Value
from callboard.events.agent_names import definition_of, id_of, name_of, person_of
from callboard.events.agent_trace import step_span
from callboard.events.context_content import tokens_of
from callboard.events.errors import InvalidId, InvalidInput


class HandOffs:
    """What one agent hands over while it works at a message."""

    def __init__(self, services: Services, agent_id: str, work: Work) -> None:
        self._services = services
        self._agent_id = agent_id
        self._received = work.received

    def refusal(self, to: str, *, waits: bool) -> StepFailure | None:
        """Why nothing can be sent to the agent ``to``; None if it can. ``waits``: for its answer."""
        try:
            agent_id = id_of(to)
        except InvalidId as error:
            return StepFailure("refused", str(error))
        wanted = definition_of(agent_id)
        known = self._services.known()
        if wanted not in known:
            others = f"; there are: {', '.join(sorted(known)[:20]) or 'none'}"
            hint = did_you_mean(wanted, known) or others
            return StepFailure("refused", f"nobody serves agents called {wanted!r}{hint}")
        if waits and agent_id in (line := (*self._chain(), self._agent_id)):
            circle = " waits for ".join(map(name_of, (*line[line.index(agent_id) :], agent_id)))
            return StepFailure("refused", f"a circle: {circle}")
        try:
            person = person_of(known[wanted], agent_id)
        except InvalidInput as error:
            return StepFailure("refused", str(error))
        if self._received.private and person not in {"", self._received.private}:
            return StepFailure("refused", f"this is about {self._received.private}, and {to} is about {person}")
        if (self._received.private or person) and self._is_away(agent_id):
            return StepFailure("refused", f"{to} lives in another cell, and what is private stays in its own")
        return None

    def refusal_to_give(
        self, to: str, contexts: Sequence[str], budget: str | None, max_cost: int | None
    ) -> StepFailure | None:
        """Why contexts and money can't go along to the agent ``to``; None if they can."""
        if not self._is_away(id_of(to)):
            return None
        away = f"{to} lives in another cell"
        if contexts or max_cost is not None:
            return StepFailure("refused", f"{away}: contexts and slices of budgets stay in theirs")
        if budget is None and self._received.handoff and self._received.handoff.budget:
            return StepFailure("refused", f"{away}: name a budget of that one that it may spend from")
        return None

    def _is_away(self, agent_id: str) -> bool:
        return not self._services.board.bus.shards.holds("agent", agent_id)

    async def person(self, to: str) -> str:
        """The person that a message to the agent ``to`` is about, who has a key then; empty for none."""
        if self._received.private:
            return self._received.private
        person = person_of(self._services.known().get(definition_of(to)), to)
        if person:
            await self._services.board.bus.privacy.keyring.welcome(person)
        return person

    async def offer(
        self,
        key: str,
        contexts: Sequence[str],
        budget: str | None,
        max_cost: int | None,
        deadline: datetime | None,
        person: str = "",
    ) -> HandOff:
        """What goes along: forks of the contexts, for what is about ``person``, a slice of the budget.

        The same ``key`` gives the same.
        """
        handed = self._received.handoff
        budget = budget or (handed.budget if handed else None)
        manifest = tuple(
            [await self._forked(each, id_from("fork", key, each, owner=each), person) for each in contexts]
        )
        if max_cost is not None:
            if budget is None:
                raise InvalidInput("a hand-off with max_cost needs a budget to take it from: name one as budget")
            part = id_from("slice", key)
            await self._services.board.set_budget(part, limit=max_cost, parent=budget)
            budget = part
        return HandOff(manifest, budget, deadline)

    def sent(
        self, agent: AgentState, step: str, to: str, body: Value, offer: HandOff | None, person: str = ""
    ) -> list[AgentEvent]:
        """The message about ``person`` as the agent's next to ``to``; with an ``offer`` it is a hand-off."""
        number = agent.mailed.get(to, 0) + 1
        message = id_from("mail", agent.id, to, str(number), owner=to)
        chain = (*self._chain(), agent.id) if offer else ()
        paused = [Paused(step, offer.deadline)] if offer and offer.deadline else []
        assert agent.work is not None
        span = step_span(agent.id, agent.work, step)
        return [*paused, Sent(step, to, number, message, body, chain, offer, span.traceparent, person)]

    def _chain(self) -> tuple[str, ...]:
        return self._received.chain

    async def _forked(self, context: str, fork: str, person: str) -> Manifest:
        contexts = self._services.board.contexts
        try:
            forked = await contexts.state(fork)
        except InvalidInput:  # there is none yet
            await contexts.fork(context, fork, private=person)
            forked = await contexts.state(fork)
        content = await contexts.content(fork)
        return Manifest(fork, forked.version, sum(map(tokens_of, content.messages)))
