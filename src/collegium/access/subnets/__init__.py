"""Subnets: the networks from which an organisation is visible."""
