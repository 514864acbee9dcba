"""People's accounts: profile, e-mail address, picture, erasure."""
