"""Metrics for Prometheus, and the alerts on them. `exposition.py` puts them together; `families.py` has them all."""
