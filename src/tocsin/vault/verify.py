"""Re-read the evidence and say whether it still is what was promised."""
