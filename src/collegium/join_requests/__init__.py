"""Join requests: somebody asks to become a member."""
