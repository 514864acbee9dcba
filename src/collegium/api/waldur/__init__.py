"""The API of Waldur MasterMind, as its official client uses it."""
