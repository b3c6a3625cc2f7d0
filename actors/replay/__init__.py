"""What would have been: recorded decisions made again by the real router code, and off-policy estimates from them."""
