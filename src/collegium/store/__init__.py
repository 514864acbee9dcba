"""The rows, and every question asked of them."""
