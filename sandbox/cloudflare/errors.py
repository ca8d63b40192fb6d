"""Errors of the API, with the codes and messages the real one answers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One entry of a response's `errors`; `chain` holds the causes the real API lists below it."""

    code: int
    message: str
    chain: tuple["Problem", ...] = ()

    def as_json(self) -> dict[str, object]:
        """The entry as the API writes it."""
        body: dict[str, object] = {"code": self.code, "message": self.message}
        if self.chain:
            body["error_chain"] = [cause.as_json() for cause in self.chain]
        return body


class ApiError(Exception):
    """A request the API refuses: an HTTP status and what is wrong."""

    def __init__(self, status: int, code: int, message: str, *chain: Problem) -> None:
        super().__init__(message)
        self.status = status
        self.problem = Problem(code, message, chain)


def invalid(code: int, message: str) -> ApiError:
    """A value the API does not accept."""
    return ApiError(400, code, message)
