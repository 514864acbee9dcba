"""User agreements: published by staff, read by everybody, agreed to by people."""
