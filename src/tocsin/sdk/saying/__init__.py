"""What the application says itself: the typed vocabulary, and bridges for its logs."""
