"""Not yet furnished."""
