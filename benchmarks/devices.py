"""Where the parties of a benchmark keep their shares: on the host, or on this machine's cards."""

from __future__ import annotations

from kernels.cuda import card
from mpc.errors import UsageError
from mpc.party import Party
from protocols.cli.start import card_memory

DEVICES = ("cpu", "cuda")


def require(device: str) -> None:
    """Look for a card, if one is asked for, before any rank is started.

    Raises:
        UsageError: there is none; one line.
    """
    if device == "cuda":
        try:
            card.devices()
        except card.DeviceError as error:
            raise UsageError(str(error)) from None


def place(party: Party, device: str) -> str:
    """Let this rank keep its shares there from now on; returns what the device is called.

    Ranks take the cards of a machine in turn, and several may share one.

    Raises:
        UsageError: there is no card, or it will not do.
    """
    if device == "cpu":
        return device
    party.memory = card_memory()
    return card.devices()[party.xp.cuda.Device().id]
