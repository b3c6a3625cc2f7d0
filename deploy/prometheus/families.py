"""Every metric of ours: its name, what kind it is, what it says, and its labels.

What is folded from the log is the same in every process that shows it: take ``max by (backend) (…)``, not ``sum``. It
counts from the log's first event, so a restart sets nothing back. ``own`` metrics are of one process, from its start.
"""

from typing import Final, Literal, NamedTuple

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

Kind = Literal["gauge", "counter", "histogram"]


class Family(NamedTuple):
    """One metric. The name of a counter ends with ``_total``."""

    name: str
    kind: Kind
    about: str
    labels: tuple[str, ...] = ()
    own: bool = False

    def gauge(self) -> GaugeMetricFamily:
        """Empty, to be filled."""
        return GaugeMetricFamily(self.name, self.about, labels=self.labels)

    def counter(self) -> CounterMetricFamily:
        """Empty, to be filled."""
        return CounterMetricFamily(self.name, self.about, labels=self.labels)

    def histogram(self) -> HistogramMetricFamily:
        """Empty, to be filled."""
        return HistogramMetricFamily(self.name, self.about, labels=self.labels)


_BY: Final = ("backend",)

BUILD = Family("callboard_build_info", "gauge", "The version of this process; always 1.", ("version",), own=True)
PROJECTION_SEQ = Family(
    "callboard_projection_sequence", "gauge", "The log sequence that this process has folded up to.", own=True
)
BROKEN = Family(
    "callboard_broken_entities", "gauge", "Entities with a message that can't be read: see callboard doctor.", own=True
)

TASKS = Family("callboard_tasks", "gauge", "Tasks by where they stand now, ended ones included.", ("status",))
SUBMITTED = Family("callboard_tasks_submitted_total", "counter", "Tasks that were taken in.")
ENDED = Family("callboard_tasks_ended_total", "counter", "Ends of tasks; a requeued one may end again.", ("status",))
WAIT = Family("callboard_task_wait_seconds", "histogram", "Time until a task's first call began.", _BY)

WAITING = Family("callboard_backend_tasks_waiting", "gauge", "Tasks assigned whose call has not begun.", _BY)
RUNNING = Family("callboard_backend_calls_running", "gauge", "Calls under way.", _BY)
OUTSTANDING = Family("callboard_backend_tokens_outstanding", "gauge", "Predicted tokens of assigned tasks.", _BY)
RELIABILITY = Family("callboard_backend_reliability_ratio", "gauge", "Share of good calls lately, 0 to 1.", _BY)
REPLICAS = Family("callboard_backend_replicas_wanted", "gauge", "Replicas that there should be.", _BY)
DRAINING = Family("callboard_backend_draining", "gauge", "1 if it gets no new work.", _BY)
BREAKER = Family("callboard_backend_breaker", "gauge", "1 for the state its breaker is in.", ("backend", "state"))
BACKEND = Family("callboard_backend_info", "gauge", "What it is; always 1.", ("backend", "provider", "model"))

CALLS = Family("callboard_calls_total", "counter", "Calls of models that are booked.", _BY)
UNKNOWN = Family("callboard_calls_unknown", "gauge", "Calls whose end nobody saw, and whose cost is not told.")
FAILURES = Family("callboard_call_failures_total", "counter", "Calls that failed.", ("backend", "kind"))
FIRST_TOKEN = Family("callboard_call_first_token_seconds", "histogram", "Time to an answer's first token.", _BY)
DURATION = Family("callboard_call_duration_seconds", "histogram", "Time to an answer's end.", _BY)
TOKENS = Family("callboard_tokens_total", "counter", "Tokens used; cached_input is part of input.", ("backend", "type"))
COST = Family("callboard_cost_usd_total", "counter", "What calls cost.", _BY)
WASTED = Family("callboard_cost_wasted_usd", "gauge", "Of that, what bought no answer that was used.", _BY)

_OF: Final = ("budget",)
LIMIT = Family("callboard_budget_limit_usd", "gauge", "The most that may be spent.", _OF)
SPENT = Family("callboard_budget_spent_usd", "gauge", "What is settled.", _OF)
HELD = Family("callboard_budget_held_usd", "gauge", "What is held for calls.", _OF)
LEFT = Family("callboard_budget_left_usd", "gauge", "What can still be reserved.", _OF)
BREACHED = Family("callboard_budget_breached", "gauge", "1 if a task did not fit, until the limit is raised.", _OF)
LEFT_OUT = Family("callboard_budgets_left_out", "gauge", "Budgets beyond those that are shown.")

NATS_UP = Family("callboard_nats_up", "gauge", "1 if JetStream answered just now.", own=True)
MESSAGES = Family("callboard_stream_messages", "gauge", "Messages in a stream.", ("stream",))
BYTES = Family("callboard_stream_bytes", "gauge", "Bytes of a stream.", ("stream",))
MAX_BYTES = Family("callboard_stream_max_bytes", "gauge", "Where it refuses to grow, if anywhere.", ("stream",))
STREAM_SEQ = Family("callboard_stream_sequence", "gauge", "The sequence of the newest message.", ("stream",))
_QUEUE: Final = ("stream", "consumer")
PENDING = Family("callboard_consumer_pending_messages", "gauge", "Messages that were not delivered yet.", _QUEUE)
UNACKED = Family("callboard_consumer_unacknowledged_messages", "gauge", "Delivered, and not done.", _QUEUE)

LAG = Family("callboard_event_loop_lag_seconds", "histogram", "How late the event loop is.", own=True)
REQUESTS = Family(
    "callboard_http_requests_total", "counter", "Requests answered.", ("method", "route", "status"), own=True
)
REQUEST_TIME = Family(
    "callboard_http_request_duration_seconds", "histogram", "Time to the end of an answer.", ("route",), own=True
)
STREAMS = Family("callboard_http_streams", "gauge", "Streams of events that are open.", own=True)

FAMILIES: Final[tuple[Family, ...]] = tuple(each for each in list(globals().values()) if isinstance(each, Family))
