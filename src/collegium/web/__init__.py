"""The web pages, and the endpoints for operators and machines: health, metrics, style sheet."""
