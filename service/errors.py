"""Errors a client sees, all as `{"error": {"code", "message"}}`."""


class RequestError(Exception):
    """A request that cannot be answered.

    Attributes:
        status: HTTP status code, 4xx or 503.
        code: short constant for programs.
        message: one sentence for people.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    def body(self) -> dict[str, dict[str, str]]:
        """The JSON answer."""
        return {"error": {"code": self.code, "message": self.message}}
