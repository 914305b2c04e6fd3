"""What can be wrong with a site's input. A message never holds a pixel or a header field."""

from mpc.errors import UsageError


class IntakeError(UsageError):
    """A site's folder, labels or settings cannot be used; the message says what to do instead."""


class Unreadable(IntakeError):
    """One file cannot be used. `reason` completes the sentence "this file ..."."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
