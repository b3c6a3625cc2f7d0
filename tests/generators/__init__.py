"""Hypothesis strategies for what Callboard's own rules allow."""
