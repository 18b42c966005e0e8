"""The process: connections, what each request passes, load, health, models that change, leaving."""
