"""Hosts of agents, and nats-server, are killed 200 times: no step that is done runs again, no message is lost."""

import pytest
from servers.crew_auditor import audit
from servers.crew_run import interrupted, uninterrupted

KILLS = 50


@pytest.mark.chaos
@pytest.mark.parametrize("hosts", [1, 2])
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.timeout(600)
async def test_agents_survive_every_kill(tmp_path, seed, hosts):
    """Killed -9 at random moments; of two hosts one is stopped for a while as well. The promises: see the auditor."""
    seed += 10 * hosts
    print(f"seed {seed}, {hosts} hosts, {KILLS} kills")
    run = await interrupted(tmp_path, kills=KILLS, seed=seed, hosts=hosts)
    seen = audit(run, await uninterrupted(tmp_path, run.stories))
    print(
        f"{run.stories} stories, {len(run.records)} messages, killed: {run.kills}, stopped: {run.stops}, {dict(seen)}"
    )
    assert seen["taken over"] >= KILLS // 2
    assert seen["ran twice"] >= 1
