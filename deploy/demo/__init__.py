"""The demonstration: real tasks for real models on one machine, and honest counts of what came back."""
