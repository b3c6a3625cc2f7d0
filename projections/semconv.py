"""Names of spans, metrics and attributes, in one place: the GenAI conventions are still in development and move.

As of GenAI semantic conventions `GEN_AI_VERSION`, which build on the general ones at `SCHEMA_URL`. What has no
standard name begins with ``callboard.``: money above all, in whole micro-dollars.
"""

from typing import Final

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.45.0"
GEN_AI_VERSION: Final = "0.1.0"
SCOPE: Final = "callboard"

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
AGENT: Final = "gen_ai.agent.name"
CONVERSATION: Final = "gen_ai.conversation.id"
OUTPUT_TYPE: Final = "gen_ai.output.type"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
REQUEST_TEMPERATURE: Final = "gen_ai.request.temperature"
REQUEST_SEED: Final = "gen_ai.request.seed"
REQUEST_STOP: Final = "gen_ai.request.stop_sequences"
RESPONSE_MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHED_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"

TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105  a name, no secret
TOKEN_USAGE: Final = "gen_ai.client.token.usage"  # noqa: S105  likewise
OPERATION_DURATION: Final = "gen_ai.client.operation.duration"
FIRST_CHUNK_TIME: Final = "gen_ai.client.operation.time_to_first_chunk"

CHAT: Final = "chat"
INVOKE_WORKFLOW: Final = "invoke_workflow"
WORKFLOW: Final = "task"

ERROR_TYPE: Final = "error.type"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"

MESSAGING_SYSTEM: Final = "messaging.system"
MESSAGING_OPERATION: Final = "messaging.operation.name"
MESSAGING_OPERATION_TYPE: Final = "messaging.operation.type"
MESSAGING_TEMPLATE: Final = "messaging.destination.template"
MESSAGING_GROUP: Final = "messaging.consumer.group.name"
MESSAGING_MESSAGE: Final = "messaging.message.id"
MESSAGING_CONVERSATION: Final = "messaging.message.conversation_id"

TASK: Final = "callboard.task.id"
TASK_PARENT: Final = "callboard.task.parent"
TASK_OWNER: Final = "callboard.task.owner"
TASK_TAGS: Final = "callboard.task.tags"
TASK_PRIORITY: Final = "callboard.task.priority"
TASK_CONTEXT: Final = "callboard.task.context"
TASK_STATUS: Final = "callboard.task.status"
TASK_CALLS: Final = "callboard.task.calls"
TASK_COST: Final = "callboard.task.cost.usd_micros"
COST: Final = "callboard.cost.usd_micros"
WASTED: Final = "callboard.wasted"
ESTIMATED: Final = "callboard.usage.estimated"
BACKEND: Final = "callboard.backend"
WORKER: Final = "callboard.worker"
ATTEMPT: Final = "callboard.attempt"
CALL: Final = "callboard.call"
OUTCOME: Final = "callboard.outcome"
REASON: Final = "callboard.reason"
POLICY: Final = "callboard.route.policy"
CANDIDATES: Final = "callboard.route.candidates"
EXCLUDED: Final = "callboard.route.excluded"
PROPENSITY: Final = "callboard.route.propensity_ppm"
SEEN: Final = "callboard.route.seen"
SCORE: Final = "callboard.score_ppm"
LINK: Final = "callboard.link"

FIRST_TOKEN: Final = "callboard.first_token"  # noqa: S105  an event's name, no secret
