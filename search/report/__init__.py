"""Pages, tables and pictures of all of them."""
