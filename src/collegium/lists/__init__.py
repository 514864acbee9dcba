"""Lists: visibility, filters, orders, pages, text search."""
