"""Routing policies, one small pure class each; `registry` finds them by name."""
