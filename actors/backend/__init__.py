"""A model backend: workers that take its assignments, call the model, and tell the log what came of it."""
