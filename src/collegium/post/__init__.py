"""What is owed to the outside: mails, written and sent after the deed that owes them."""
