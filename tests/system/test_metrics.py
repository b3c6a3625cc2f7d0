"""What a real node shows at /metrics: every metric, with true values, through a restart, by several at a time."""

import asyncio

from msgspec.structs import replace
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families
from servers.http_node import http_node
from servers.promtool import promtool

from callboard.actors.board import Board
from callboard.actors.projector import Projector
from callboard.bus.memory import MemoryBus
from callboard.deploy.node import Node
from callboard.deploy.prometheus.families import FAMILIES
from callboard.deploy.prometheus.projected import MOST_BUDGETS, projected
from callboard.deploy.settings import Nats
from callboard.projections.live import LIVE


async def scraped(node, url="") -> str:
    """The text, as soon as all that was counted before is in it."""
    end = await node.node.bus.log.end()
    async with node.client("metrics", url=url) as client:
        while True:
            text = (await client.get("/metrics")).text
            values = samples(text)
            seen = values.get("callboard_projection_sequence", 0)
            if seen >= end and "callboard_tasks_submitted_total" in values and counted(values):
                return text
            await asyncio.sleep(0.02)


def counted(values) -> bool:
    """Whether what is folded for metrics alone tells of as many ends as the projections."""
    ended = ("completed", "cancelled", "dead", "expired", "rejected")
    return all(
        values[f"callboard_tasks_ended_total{{status={status}}}"] == values[f"callboard_tasks{{status={status}}}"]
        for status in ended
    )


def samples(text) -> dict[str, float]:
    """Values by name and labels."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


async def test_every_metric_tells_the_truth(tmp_path):
    """After an answer, a failure, a cancelled task and a breach; and a restart sets none back."""
    async with http_node(tmp_path) as node:
        async with node.client("admin") as client:
            await node.node.board.set_budget("small", limit=3_000_000)
            await node.node.board.set_budget("broke", limit=0)
            for asked in (
                {"input": "hello", "backend": "echo", "budget": "small"},
                {"input": "x", "backend": "broken"},
                {"input": "x", "backend": "echo", "budget": "broke"},
            ):
                outcome = (await client.post("/v1/tasks", json=asked, params={"wait": 20})).json()
                assert outcome["status"] in ("completed", "dead")
            late = await client.post("/v1/tasks", json={"input": "x", "delay_s": 600})
            await client.delete(late.headers["location"])
            other = await client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
            assert "callboard_tasks" in {family.name for family in open_metrics(other.text)}
            await strangers(node)
        text = await scraped(node)
        for family in FAMILIES:
            assert f"# HELP {family.name} {family.about}\n# TYPE {family.name} {family.kind}\n" in text, family.name
        assert promtool("check", "metrics", stdin=text) == ""
        before = samples(text)
    for name, value in {
        "callboard_tasks_submitted_total": 4,
        "callboard_tasks_ended_total{status=completed}": 1,
        "callboard_tasks_ended_total{status=dead}": 2,
        "callboard_tasks_ended_total{status=cancelled}": 1,
        "callboard_calls_total{backend=echo}": 1,
        "callboard_call_failures_total{backend=broken,kind=invalid}": 1,
        "callboard_call_duration_seconds_count{backend=echo}": 1,
        "callboard_call_first_token_seconds_count{backend=echo}": 1,
        "callboard_task_wait_seconds_count{backend=broken}": 1,
        "callboard_backend_replicas_wanted{backend=echo}": 1,
        "callboard_backend_breaker{backend=echo,state=closed}": 1,
        "callboard_backend_info{backend=echo,model=servers.callable_backends:echo,provider=callable}": 1,
        "callboard_budget_limit_usd{budget=small}": 3,
        "callboard_budget_breached{budget=broke}": 1,
        "callboard_nats_up": 1,
        "callboard_consumer_pending_messages{consumer=router,stream=EVENTS}": 0,
        "callboard_http_requests_total{method=POST,route=/v1/tasks,status=200}": 3,
        "callboard_http_requests_total{method=DELETE,route=/v1/tasks/{task},status=200}": 1,
        "callboard_http_requests_total{method=GET,route=unknown,status=404}": 5,
        "callboard_http_requests_total{method=GET,route=/v1/tasks/{task},status=401}": 5,
        "callboard_http_requests_total{method=unknown,route=/livez,status=405}": 5,
    }.items():
        assert before[name] == value, name
    assert before["callboard_cost_usd_total{backend=echo}"] > 0
    assert before["callboard_stream_messages{stream=EVENTS}"] == before["callboard_projection_sequence"]
    await again(node, before)


async def strangers(node):
    """However many paths and methods are tried, there is a series for each route, and one for all that is none."""
    async with node.client() as client:
        for number in range(5):
            await client.get(f"/no/{number}")
            await client.get(f"/v1/tasks/{number}")
            await client.request(f"M{number}", "/livez")


async def again(node, before):
    """Another node on the same log, and a process beside it that does nothing but HTTP: both count as before."""
    beside = replace(node.settings, http=replace(node.settings.http, tokens=str(node.tokens.path)))
    async with Node(node.settings) as restarted:
        node.node = restarted
        alone = replace(beside, data=str(node.tokens.path.parent / "alone"), nats=Nats(url=restarted.url))
        async with Node(alone, roles=("http",)) as other:
            for url in (restarted.http_url, other.http_url):
                after = samples(await scraped(node, url))
                for name, value in before.items():
                    if name.startswith(
                        ("callboard_tasks", "callboard_call", "callboard_cost", "callboard_budget_limit")
                    ):
                        assert after[name] == value, name


async def test_labels_are_few():
    """Anybody may make budgets: those that are part of no other are shown first, and how many are not."""
    bus = MemoryBus()
    board, projector = Board(bus, "client"), Projector(bus, *LIVE)
    await board.set_budget("zz-all", limit=1)
    for number in range(MOST_BUDGETS + 4):
        await board.set_budget(f"b-{number:03}", limit=1, parent="zz-all")
    await projector.catch_up()
    shown = {family.name: family.samples for family in projected(projector)}
    budgets = [sample.labels["budget"] for sample in shown["callboard_budget_left_usd"]]
    assert len(budgets) == MOST_BUDGETS
    assert budgets[:2] == ["zz-all", "b-000"]
    assert shown["callboard_budgets_left_out"][0].value == 5
    await bus.aclose()
