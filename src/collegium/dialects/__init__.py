"""How it is said: each dialect turns a wire into deeds, and rows into a wire."""
