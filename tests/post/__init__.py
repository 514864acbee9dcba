"""What is promised of mails: written well, sent at least once, and given up loudly."""
