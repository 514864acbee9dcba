"""Imports: many people are invited from one file."""
