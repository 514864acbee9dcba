"""What can be done: one function a deed, inside a transaction that somebody else commits."""
