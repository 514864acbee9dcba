"""Join requests: a person asks to become a member."""
