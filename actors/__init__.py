"""Who acts: intake, the router, backend workers and timers, all on one loop over the bus."""
