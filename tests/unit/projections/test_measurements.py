"""What metrics say of a model call."""

from callboard.events.cascade import Answered
from callboard.events.chat import Usage
from callboard.events.task import Completed, Failed, Spent
from callboard.events.task_spec import Failure
from callboard.projections.measurements import measurements
from callboard.projections.span_attributes import Endpoint

ENDPOINT = Endpoint("openai", "m", "example.org", 443)
ABOUT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "m",
    "server.address": "example.org",
    "server.port": 443,
    "callboard.backend": "a",
}


def told(event, endpoint=ENDPOINT) -> dict[str, tuple[float, dict]]:
    """Values by name and, for tokens, kind, with what they say beyond `ABOUT`."""
    found = {}
    for name, value, attributes in measurements(event, endpoint):
        assert attributes.items() >= (ABOUT.items() if endpoint else {("callboard.backend", "a")})
        kind = attributes.get("gen_ai.token.type", "")
        found[f"{name} {kind}".strip()] = (value, {k: v for k, v in attributes.items() if k not in ABOUT})
    return found


def test_an_answer():
    """Tokens in and out, both times in seconds, and the money, which bought something."""
    event = Completed("a", 1, "x", Usage(10, 5), 20, "m-1", first_token=250_000_000, duration=1_500_000_000)
    model = {"gen_ai.response.model": "m-1"}
    assert told(event) == {
        "gen_ai.client.operation.duration": (1.5, model),
        "gen_ai.client.operation.time_to_first_chunk": (0.25, model),
        "gen_ai.client.token.usage input": (10, model | {"gen_ai.token.type": "input"}),
        "gen_ai.client.token.usage output": (5, model | {"gen_ai.token.type": "output"}),
        "callboard.cost.usd_micros": (20, model | {"callboard.wasted": False}),
    }


def test_an_answer_that_is_set_aside_is_measured_once():
    """When it comes in; that it is used after all says nothing more."""
    event = Answered("a", 1, "x", Usage(10, 5), 20, "m-1", duration=1_500_000_000)
    assert told(event)["callboard.cost.usd_micros"][0] == 20
    assert told(Completed("a", 1, "x", Usage(10, 5), 20, "m-1", booked=True)) == {}


def test_a_failure():
    """Its duration says why; what was spent all the same is wasted."""
    event = Failed("a", 1, Failure("timeout", "too slow"), Usage(10, 0), 10, duration=2_000_000_000)
    assert told(event) == {
        "gen_ai.client.operation.duration": (2.0, {"error.type": "timeout"}),
        "gen_ai.client.token.usage input": (10, {"gen_ai.token.type": "input"}),
        "callboard.cost.usd_micros": (10, {"callboard.wasted": True}),
    }


def test_a_late_bill():
    """A call that nobody waited for has a price, and no duration."""
    assert told(Spent("a", 1, Usage(0, 3), 6, "late")) == {
        "gen_ai.client.token.usage output": (3, {"gen_ai.token.type": "output"}),
        "callboard.cost.usd_micros": (6, {"callboard.wasted": True}),
    }


def test_a_backend_that_is_gone():
    """What is no longer known of it is left out, and nothing else."""
    assert told(Spent("a", 1, Usage(1, 0), 0, "late"), None).keys() == {"gen_ai.client.token.usage input"}
