"""Callboard."""
