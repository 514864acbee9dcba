"""The worker: delivers the outbox and runs what is scheduled."""
