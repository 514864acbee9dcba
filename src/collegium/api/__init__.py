"""The APIs: what all of them share, and one package for each protocol."""
