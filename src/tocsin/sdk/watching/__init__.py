"""What sits on the request path: one adapter for each kind of framework."""
