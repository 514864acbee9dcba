"""Other services: HTTP client, remote directory, webhooks."""
