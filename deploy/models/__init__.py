"""Real language models on a bare machine: small open weights, and a local server for each. Imported on demand."""
