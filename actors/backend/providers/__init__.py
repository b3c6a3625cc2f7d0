"""How a backend talks to a model: one protocol, one module for each API. Importing this loads no HTTP client."""
