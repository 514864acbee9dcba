"""OpenID providers for tests: a hostile one of our own, and two real ones."""
