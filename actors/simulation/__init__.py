"""What would happen: the real router and the real projections over a recorded trace, on simulated backends and time."""
