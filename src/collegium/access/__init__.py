"""Authorisation: who may see and do what."""
