"""What is allowed and what follows: no I/O, no rows, no clock."""
