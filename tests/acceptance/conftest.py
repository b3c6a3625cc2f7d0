"""Everything here runs on an embedded node, and with ``-m cluster`` on Ray as well."""

import asyncio

import pytest
from servers import nats_binary
from servers.places import Embedded, OnRay


@pytest.fixture(scope="module", params=[Embedded, pytest.param(OnRay, marks=pytest.mark.cluster)])
def place(request, tmp_path_factory):
    """Where Callboard is up; a test may end it and bring it up again."""
    asyncio.run(nats_binary.needed())
    place = request.param(tmp_path_factory.mktemp("place"))
    place.up()
    try:
        yield place
    finally:
        place.close()
