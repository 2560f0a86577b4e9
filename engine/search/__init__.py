"""The search: gepa with our own strategies, its budget, guards and book of record."""
