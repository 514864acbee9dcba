"""The web pages, and what operators and machines ask of the service itself."""
