"""Projects: the scopes under an organisation."""
