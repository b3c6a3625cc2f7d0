"""What agents did: only what was allowed, and on what others really said.

- A tool that its definition has people asked about is called only after the approval of that very call.
- A step that waited for a task or an approval ends after that did.
- What an agent receives from another, the other has sent; so with answers.
"""

import re
from datetime import timedelta
from hashlib import sha256
from typing import Any, Final

import msgspec

from callboard.events import agent_events, approval, task
from callboard.events.agent import AgentState
from callboard.events.agent_names import definition_of, name_of
from callboard.events.approval import OUTCOMES, Approval, Status
from callboard.events.envelope import Envelope
from callboard.events.shards import ALL, Shards
from callboard.projections.audit.entities import Entities
from callboard.projections.audit.findings import Findings

_TOOL_CALL: Final = re.compile(r"(.+) \d+\.\d+")
_CLOCKS: Final = timedelta(seconds=60)
"""So far the clocks of two machines may be apart."""


class Agents:
    """The fold over agents and approvals. What the log of other ``shards`` has said is not known here."""

    def __init__(self, findings: Findings, entities: Entities, shards: Shards = ALL) -> None:
        self._shards = shards
        self._findings = findings
        self._entities = entities
        self._mail: dict[tuple[str, str, int], bytes] = {}

    def take(self, seq: int, subject: str, envelope: Envelope, before: AgentState) -> None:
        """Something happens to an agent, before that is folded."""
        name, event = envelope.entity, envelope.event
        match event:
            case agent_events.Began():
                self._check_allowed(seq, subject, name, before, event)
            case agent_events.Stepped(on=on) if on:
                self._check_ended(seq, subject, name, event, on)
            case agent_events.Sent():
                self._note_said(name, event, _content(event.message, event.body, None))
            case agent_events.Finished() | agent_events.DeadLettered() if event.to:
                value = event.value if isinstance(event, agent_events.Finished) else agent_events.NOTHING
                self._note_said(name, event, _content(event.message, value, event.failure))
            case agent_events.Received() if event.sender:
                self._check_said(seq, subject, name, event, _content(event.message, event.body, None))
            case agent_events.Answered() | agent_events.Late():
                self._check_said(seq, subject, name, event, _content(event.message, event.value, event.failure))

    def approval(self, seq: int, subject: str, envelope: Envelope, before: Approval) -> None:
        """Something happens to an approval, before that is folded."""
        event, name = envelope.event, envelope.entity
        match event:
            case approval.Requested(action=action, hash=hashed) if action != hashed != approval.hash_of(action):
                told = f"approval {name} asks about an action, and bears the hash of another"
                self._findings.add("action", seq, told, subject, f"approval/{name}")
            case approval.Approved(by=by) | approval.Denied(by=by) if before.requested:
                until = before.requested.expires
                if until and envelope.time > until + _CLOCKS:
                    told = f"{by} answered approval {name} after its end, and the answer counted"
                    self._findings.add("late", seq, told, subject, f"approval/{name}")

    def _check_allowed(self, seq: int, subject: str, name: str, before: AgentState, event: agent_events.Began) -> None:
        tool = found[1] if (found := _TOOL_CALL.fullmatch(event.step)) else ""
        definition = self._entities.state("agent", definition_of(name))
        asked_about = definition.defined.approvals if definition and definition.defined else ()
        needs = event.needs or (f"approve {event.step}" if tool in asked_about else "")
        if not needs:
            return
        step = before.work.steps.get(needs) if before.work else None
        on = step.on if step and step.done and not step.failure else ""
        if on and not self._shards.holds("approval", on.removeprefix("approval/")):
            return
        given = self._entities.state(*on.split("/", 1)) if on.startswith("approval/") else None
        what = f"agent {name_of(name)} began step {event.step!r}"
        if given is None:
            told = f"{what}, which needs an approval, and nobody was asked"
        elif given.status is not Status.APPROVED:
            told = f"{what}, although what it needs was {given.status}, not approved"
        elif given.requested.by != name:
            told = f"{what} on an approval that {given.requested.by or 'somebody else'} had asked for"
        elif tool and given.requested.action is not None and given.requested.action != tool:
            told = f"{what} on an approval for another tool, {given.requested.action}"
        else:
            return
        self._findings.add("unapproved", seq, told, subject, f"agent/{name}")

    def _check_ended(self, seq: int, subject: str, name: str, event: agent_events.Stepped, on: str) -> None:
        kind, _, other = on.partition("/")
        state = self._entities.state(kind, other)
        ended = task.ENDED if kind == "task" else OUTCOMES
        if not self._shards.holds(kind, other):
            return
        if kind in {"task", "approval"} and (state is None or state.status not in ended):
            told = f"step {event.step!r} of agent {name_of(name)} ended on {on}, which had not ended"
            self._findings.add("unsaid", seq, told, subject, f"agent/{name}")

    def _note_said(self, name: str, event: agent_events.Mail, content: bytes) -> None:
        if self._shards.holds("agent", event.to):
            self._mail[name, event.to, event.number] = content

    def _check_said(self, seq: int, subject: str, name: str, event: Any, content: bytes) -> None:
        if not self._shards.holds("agent", event.sender):
            return
        said = self._mail.pop((event.sender, name, event.number), None)
        if said != content:
            what = "never said" if said is None else "said otherwise"
            told = (
                f"agent {name_of(name)} heard message {event.number} of {name_of(event.sender)}, which that one {what}"
            )
            self._findings.add("unsaid", seq, told, subject, f"agent/{name}")


def _content(message: str, value: agent_events.Value, failure: agent_events.StepFailure | None) -> bytes:
    return sha256(msgspec.json.encode((message, value, failure), order="deterministic")).digest()[:16]
