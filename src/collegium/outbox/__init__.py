"""The outbox: e-mails and webhook calls to be delivered."""
