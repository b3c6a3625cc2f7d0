"""How it runs: settings, the local node, telemetry, the command line, local models."""
