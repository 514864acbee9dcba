"""Profiles: what an account shows to others."""
