"""A search over many networks, by many workers."""
