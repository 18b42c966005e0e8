"""The HTTP routes, and what each request passes."""
