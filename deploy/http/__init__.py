"""HTTP beside NATS: tasks, health and metrics for whoever has a token.

`server.py` runs it (`HttpServer`); `app.py` has the routes, `edge.py` what every request meets first and last.
"""
