"""When a party that waits looks again at once: while a message is on its way."""

from collections import deque

import numpy as np

from mpc.transport.underway import MOVING_S, Round

NOTHING = np.empty(0, np.uint8)


class Request:
    """Of MPI, done when it is told so."""

    done = False

    def Test(self):  # noqa: N802  # MPI's name
        return self.done


def waiting(*, wanted=0, sent=0, coming=0):
    """A round with so many pieces to come, and requests that are not done."""
    out, into = [Request() for _ in range(sent)], [Request() for _ in range(coming)]
    now = Round(1, 1, outgoing=out, receivers=[0] * sent, incoming=into, senders=[0] * coming)
    now.wanted = {0: deque([NOTHING] * wanted)}
    return now


def test_what_has_begun_to_come_is_on_its_way_for_as_long_as_a_piece_may_take():
    now = waiting(coming=1)
    assert now.moves(MOVING_S / 2) and not now.moves(MOVING_S) and now.since == 0
    now.incoming[0].done = True
    assert now.moves(MOVING_S) and now.since > 0, "it has come: that is a move"
    assert not now.moves(MOVING_S / 2)


def test_a_peer_that_computes_is_not_waited_for_at_once_however_much_was_sent_to_it():
    now = waiting(sent=2, wanted=3)
    assert not now.moves(0) and not now.moves(0) and now.since == 0
    now.outgoing[0].done = True
    assert now.moves(MOVING_S) and now.since > 0, "a piece has left"
    now.since = 0
    now.wanted[0].popleft()
    assert now.moves(MOVING_S) and now.since > 0, "a piece was asked for"
    assert not now.moves(0)
