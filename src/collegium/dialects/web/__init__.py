"""The pages for people, and what operators and machines ask of the service itself."""
