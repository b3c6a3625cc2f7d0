"""How facts travel and stay: the log, queues, blobs, timers and plain NATS, on JetStream or in memory."""
