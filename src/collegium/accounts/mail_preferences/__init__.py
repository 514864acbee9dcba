"""Which e-mails people want."""
