"""Changes of many rows of a list."""
