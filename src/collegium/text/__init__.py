"""Text that people type: names, e-mail addresses, confusable characters, safe output."""
