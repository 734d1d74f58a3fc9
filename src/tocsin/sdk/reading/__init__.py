"""What went by, understood: from one request to its events."""
