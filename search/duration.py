"""Durations in words."""


def format_seconds(seconds: float) -> str:
    """As hours, minutes and seconds; there may be more than a day of hours."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
