"""The service itself: its first account, and what is set on pages instead of in the environment."""
