"""The gate: how a backend works that is trusted with nothing but the calls that it makes."""
