"""Rate limits: how long a caller waits after too many failures."""
