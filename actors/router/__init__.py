"""The router: task events in, assignment events out, chosen on the live view of backends, load and prices."""
