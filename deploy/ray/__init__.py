"""Callboard on Ray: a Serve application whose replicas are nodes with a role. Ray places, NATS carries the data."""
