"""Profile pictures: checks, sanitising, storage."""
