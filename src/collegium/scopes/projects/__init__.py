"""Projects: scopes inside an organisation."""
