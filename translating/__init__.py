"""The catalogues of translations. Only developers and translators need this package."""
