"""Reviews of roles: at an interval somebody confirms who has which role in a scope."""
