"""How a backend talks to a model: one protocol, one module for each API. Nothing here loads an HTTP client by itself."""
