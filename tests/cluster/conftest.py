"""Three nats-servers for the tests that kill none."""

import asyncio
from collections.abc import Iterator

import pytest
from servers import nats_binary
from servers.nats_cluster import NatsCluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[NatsCluster]:
    """A cluster for all tests of a module."""
    asyncio.run(nats_binary.needed())
    running = NatsCluster(tmp_path_factory.mktemp("cluster"))
    try:
        asyncio.run(running.start_all())
        yield running
    finally:
        running.close()
