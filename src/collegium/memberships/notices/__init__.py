"""What people are told about their roles, in e-mails."""
