"""Access subnets: the networks from which an organisation is visible."""
