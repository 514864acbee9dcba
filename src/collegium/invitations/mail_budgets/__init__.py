"""Maximum number of invitation e-mails to one address in a day."""
