"""The process: connections, load, health, models that change, leaving."""
