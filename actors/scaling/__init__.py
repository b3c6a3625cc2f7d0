"""How many replicas each backend gets: measured, decided, and said in the log with its reason."""
