"""What spans say of tasks, decisions, queues and model calls, as attributes."""

from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from callboard.events.backend import BackendSpec
from callboard.events.cascade import Answered
from callboard.events.chat import Usage
from callboard.events.envelope import Envelope
from callboard.events.task import Assigned, Completed, Started
from callboard.events.task_spec import TaskSpec
from callboard.events.task_subjects import work_queue, work_subject
from callboard.projections import semconv
from callboard.projections.span import Attributes

_PROVIDERS: Final = {
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral_ai",
    "api.moonshot.ai": "moonshot_ai",
    "api.perplexity.ai": "perplexity",
    "api.x.ai": "x_ai",
}
_PORTS: Final = {"http": 80, "https": 443}


class Endpoint(Struct, frozen=True, gc=False, omit_defaults=True):
    """A backend as its calls name it. ``provider`` is the convention's name of whoever serves the model."""

    provider: str
    model: str
    address: str = ""
    port: int = 0


def endpoint_of(spec: BackendSpec) -> Endpoint:
    """The endpoint behind a backend; one that speaks OpenAI's API counts as OpenAI unless its host is known."""
    try:
        url = urlsplit(spec.url)
        address, port = url.hostname or "", url.port or _PORTS.get(url.scheme, 0)
    except ValueError:
        address, port = "", 0
    return Endpoint(_PROVIDERS.get(address, spec.provider), spec.model, address, port)


def of_task(task_id: str, spec: TaskSpec) -> Attributes:
    """Who asked for what, without what was asked."""
    attributes: Attributes = {
        semconv.OPERATION: semconv.INVOKE_WORKFLOW,
        semconv.AGENT: semconv.WORKFLOW,
        semconv.TASK: task_id,
    }
    optional = (
        (semconv.TASK_PARENT, spec.parent),
        (semconv.TASK_OWNER, spec.owner),
        (semconv.TASK_TAGS, spec.tags),
        (semconv.TASK_PRIORITY, spec.priority),
        (semconv.CONVERSATION, _conversation(spec)),
        (semconv.TASK_CONTEXT, spec.context),
    )
    return attributes | {key: value for key, value in optional if value}


def of_request(task_id: str, spec: TaskSpec) -> Attributes:
    """What every call for the task asks of its model."""
    optional = (
        (semconv.CONVERSATION, _conversation(spec)),
        (semconv.REQUEST_MAX_TOKENS, spec.max_tokens),
        (semconv.REQUEST_TEMPERATURE, spec.temperature),
        (semconv.REQUEST_SEED, spec.seed),
        (semconv.REQUEST_STOP, spec.stop or None),
        (semconv.OUTPUT_TYPE, "json" if spec.schema else None),
    )
    return {semconv.TASK: task_id} | {key: value for key, value in optional if value is not None}


def _conversation(spec: TaskSpec) -> str | None:
    """The context that it is part of, whichever version it reads."""
    return spec.context.partition("@")[0] if spec.context else None


def of_decision(event: Assigned) -> Attributes:
    """Why the backend was chosen."""
    decision = event.decision
    return {
        semconv.BACKEND: event.backend,
        semconv.ATTEMPT: event.attempt,
        semconv.POLICY: decision.policy,
        semconv.REASON: decision.reason,
        semconv.CANDIDATES: len(decision.candidates.backends),
        semconv.EXCLUDED: len(decision.candidates.excluded),
        semconv.PROPENSITY: decision.propensity,
        semconv.SEEN: decision.seen,
    }


def of_queue(envelope: Envelope, event: Assigned) -> Attributes:
    """The assignment as a message in its backend's queue."""
    return {
        semconv.MESSAGING_SYSTEM: "nats",
        semconv.MESSAGING_OPERATION: "process",
        semconv.MESSAGING_OPERATION_TYPE: "process",
        semconv.MESSAGING_TEMPLATE: work_subject(event.backend, event.priority),
        semconv.MESSAGING_GROUP: work_queue(event.backend, event.priority),
        semconv.MESSAGING_MESSAGE: envelope.id,
        semconv.MESSAGING_CONVERSATION: envelope.correlationid,
        semconv.BACKEND: event.backend,
        semconv.ATTEMPT: event.attempt,
    }


def of_call(event: Started, endpoint: Endpoint | None) -> Attributes:
    """A model call as it begins."""
    attributes: Attributes = {
        semconv.OPERATION: semconv.CHAT,
        semconv.BACKEND: event.backend,
        semconv.CALL: event.call,
        semconv.WORKER: event.worker,
    }
    if endpoint is not None:
        attributes[semconv.PROVIDER] = endpoint.provider
        if endpoint.model:
            attributes[semconv.REQUEST_MODEL] = endpoint.model
        if endpoint.address:
            attributes |= {semconv.SERVER_ADDRESS: endpoint.address, semconv.SERVER_PORT: endpoint.port}
    return attributes


def of_answer(event: Completed | Answered) -> Attributes:
    """What came of a call."""
    attributes = of_spending(event.usage, event.cost)
    attributes |= {semconv.RESPONSE_MODEL: event.model, semconv.FINISH_REASONS: (event.finish,)}
    if event.first_token:
        attributes[semconv.TIME_TO_FIRST_CHUNK] = event.first_token / 1e9
    if event.estimated:
        attributes[semconv.ESTIMATED] = True
    return attributes


def of_spending(usage: Usage, cost: int) -> Attributes:
    """Tokens and micro-dollars."""
    attributes: Attributes = {
        semconv.INPUT_TOKENS: usage.input,
        semconv.OUTPUT_TOKENS: usage.output,
        semconv.COST: cost,
    }
    if usage.cached:
        attributes[semconv.CACHED_TOKENS] = usage.cached
    return attributes
