"""Accounts of people at OpenID providers, with which they sign in here."""
