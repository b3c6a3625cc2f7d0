"""What can happen: event types, their envelope, and the pure rules of each entity. No I/O, no clock, no random."""
