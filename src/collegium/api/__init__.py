"""The HTTP APIs: the parts that all protocols share, and one package for each protocol."""
