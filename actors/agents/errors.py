"""What can go wrong in a handler.

CallboardError
├── StepError     a step is used as it can't be: mend the handler
├── StepFailed    a step has no result; caught, the handler goes on
├── Refusal       raised by a handler: it will not do what it is asked
└── MessageFailed what came of a message, for whoever waits for the answer
"""

from callboard.events.agent_events import StepFailure
from callboard.events.errors import CallboardError


class StepError(CallboardError):
    """A step outside of what can be kept: the message names it and how to mend the handler."""


class StepFailed(CallboardError):
    """A step has no result, and will have none.

    ``kind`` says of which sort the ``failure`` is: the name of an exception's type, or one of

    - ``unknown``: nobody saw its end, and it must not be run twice;
    - ``deadline``: no answer came in time;
    - ``refused``: a hand-off to nobody, in a circle, or to somebody who refuses;
    - ``too large`` or ``not JSON``: a result that can't be kept.
    """

    def __init__(self, step: str, failure: StepFailure) -> None:
        super().__init__(f"step {step!r}: {failure.message}")
        self.step = step
        self.failure = failure

    @property
    def kind(self) -> str:
        """Of which sort the failure is."""
        return self.failure.kind


class Refusal(CallboardError):
    """Raised by a handler: the message is done with, without an answer, and not tried again."""


class MessageFailed(CallboardError):
    """A message was done with without an answer; ``failure`` is why."""

    def __init__(self, agent: str, message: str, failure: StepFailure) -> None:
        super().__init__(f"agent {agent}, message {message}: {failure.message}")
        self.failure = failure
