"""What is true now: pure folds over the log. No I/O, no clock, no random; the same events give the same bytes."""
