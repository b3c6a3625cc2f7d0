"""Agents: what they are made of, the hosts that they live on, and how messages come to them and go between them."""
