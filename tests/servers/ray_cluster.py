"""A Ray cluster of several nodes on this machine, as a process of its own; it prints its address and the process id of
the head's raylet, and ends at SIGTERM. Every other raylet may be killed: it is the parent of the replicas on it::

    python tests/servers/ray_cluster.py --nodes 4
"""

import argparse
import json
import logging
import signal
import sys
import threading

from callboard.deploy.ray.environment import prepare

STORE_BYTES = 80_000_000


def main() -> None:
    """Run the nodes until told to end."""
    parser = argparse.ArgumentParser(description="Ray nodes on this machine.")
    parser.add_argument("--nodes", type=int, default=4)
    nodes = parser.parse_args().nodes
    prepare()
    from ray._private.authentication.authentication_token_setup import (
        enable_token_auth_by_default,
        ensure_token_if_auth_enabled,
    )
    from ray.cluster_utils import Cluster

    logging.getLogger("ray").setLevel(logging.ERROR)
    enable_token_auth_by_default()
    ensure_token_if_auth_enabled()
    node = {"num_cpus": 1, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    for _ in range(nodes - 1):
        cluster.add_node(**node)
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    [raylet] = cluster.head_node.all_processes["raylet"]
    sys.stdout.write(json.dumps({"address": cluster.address, "head": raylet.process.pid}) + "\n")
    sys.stdout.flush()
    asked.wait()
    cluster.shutdown()


if __name__ == "__main__":
    main()
