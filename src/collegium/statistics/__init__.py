"""Statistics of a scope and of the whole service, as the charts show them."""
