"""The commands of `python -m search`."""
