"""From the bytes of a request to faces."""
