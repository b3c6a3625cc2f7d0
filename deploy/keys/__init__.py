"""Keys of roles, certificates of servers, and the NATS configuration that goes with them."""
