"""Reviews of roles: opened by the schedule, closed by those who manage the members."""
