"""The API of Waldur MasterMind, as its official client speaks it."""
