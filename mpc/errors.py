"""Everything radmpc raises on purpose, in one small tree.

A message gives step, rank, shape and counts. It never holds a share, a seed, a pixel or a header
field. After a `PeerError` or `CheatingDetected` the session is closed for good: nothing is retried
on the same streams.
"""


class MpcError(Exception):
    """Root of all errors that radmpc raises on purpose."""


class UsageError(MpcError, ValueError):
    """The caller asked for something that cannot be done; the message says what to do instead."""


class RangeError(UsageError):
    """A number does not fit the ring, or is not a number."""


class ShapeMismatch(UsageError):
    """Operands whose shapes do not go together."""


class NotOffered(UsageError):
    """A word, an operator or a combination of settings that is not offered."""


class PeerError(MpcError):
    """A peer did not behave as the protocol says. The session is closed."""


class PeerLost(PeerError):
    """A peer did not answer before the deadline, or ended."""


class OutOfStep(PeerError):
    """A peer is at another step, sent another shape, or runs other settings or code."""


class CheatingDetected(MpcError):
    """A check of a protocol failed: stop, keep nothing.

    For protocols to come: nothing raises it yet.
    """


class PreprocessingSpent(MpcError):
    """A source of correlated randomness ran dry; nothing that was used is used again instead.

    All parties find out at the same item, before the first message of the step that needs it.
    """
