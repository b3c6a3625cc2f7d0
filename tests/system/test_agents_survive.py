"""Agents survive their host: what tests/chaos/test_agents_survive.py does for long, in short."""

import pytest
from servers.crew_auditor import audit
from servers.crew_run import interrupted, uninterrupted


@pytest.mark.timeout(90)
async def test_agents_survive_four_kills(tmp_path):
    """No step that is done runs again, no message is lost or doubled, and contexts are as if nobody had been killed."""
    run = await interrupted(tmp_path, kills=4, seed=1)
    seen = audit(run, await uninterrupted(tmp_path, run.stories))
    assert sum(run.kills.values()) >= 4
    assert seen["taken over"] >= 2
