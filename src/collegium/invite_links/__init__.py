"""Invite links: links that many people can use to ask for a role."""
