"""The cases as they would run between sites: `python -m benchmarks CASE… --network wan`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from benchmarks.cases import Case
from benchmarks.layers import LIMITS, format_rounds, rounds_of_layers
from benchmarks.network import Network, far_apart
from benchmarks.ranks import say
from benchmarks.runner import run
from mpc.party import Party

NETWORKS = {"wan": (Network(rtt_s=0.010, bandwidth=100e6), Network(rtt_s=0.040, bandwidth=100e6))}
CASES = ("cnn", "resnet")
HEAD = (
    f"{'case':12} {'batch':>5} {'rtt ms':>6} {'seconds':>9} {'rounds':>7} {'MB a party':>11} "
    f"{'rounds x rtt/2':>14} {'bytes/bandwidth':>15}"
)


@dataclass(frozen=True)
class Row:
    """A case over one network, and what of its seconds the network explains.

    `travelling_s` is half a round trip for each round, `sending_s` what the bytes take to leave.
    Their sum may exceed `seconds`: a party that receives nothing in a round does not wait.
    """

    case: str
    batch: int
    rtt_s: float
    bandwidth: float  # bits a second, a party
    seconds: float
    rounds: int
    bytes_per_party: int

    @property
    def travelling_s(self) -> float:
        """Seconds that the rounds take to travel."""
        return self.rounds * self.rtt_s / 2

    @property
    def sending_s(self) -> float:
        """Seconds that the bytes of one party take to leave it."""
        return self.bytes_per_party * 8 / self.bandwidth

    def as_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return asdict(self) | {"travelling_s": self.travelling_s, "sending_s": self.sending_s}


def report(
    party: Party,
    sized: Sequence[tuple[Case, int]],
    networks: Sequence[Network],
    *,
    width: int,
    repeats: int,
) -> dict[str, object]:
    """Print and return a row for each case and network, then the rounds of each layer."""
    say(party, HEAD)
    rows = []
    for case, batch in sized:
        for network in networks:
            rows.append(over(party, network, case, width=width, batch=batch, repeats=repeats))
            say(party, format_row(rows[-1]))
    rounds = rounds_of_layers(party)
    say(party, format_rounds(rounds))
    return {"rows": [row.as_dict() for row in rows], "rounds": rounds, "limits": LIMITS}


def over(
    party: Party, network: Network, case: Case, *, width: int, batch: int, repeats: int
) -> Row:
    """One case between parties this far apart. Sharing its inputs goes over the network, untimed.

    The barriers around a repeat do not: their travelling is not the case's.
    """
    result = run(
        far_apart(party, network),
        case,
        protocol="rep3",
        width=width,
        batch=batch,
        repeats=repeats,
        around=party,
    )
    return Row(
        case.name,
        batch,
        network.rtt_s,
        network.bandwidth,
        result.seconds,
        result.rounds,
        result.bytes_per_party,
    )


def format_row(row: Row) -> str:
    """One line of the table under `HEAD`; the last two columns in seconds and as shares."""
    travelling, sending = (
        f"{seconds:.2f} s {seconds / row.seconds:4.0%}"
        for seconds in (row.travelling_s, row.sending_s)
    )
    return (
        f"{row.case:12} {row.batch or '':>5} {row.rtt_s * 1e3:6g} {row.seconds:9.3f} "
        f"{row.rounds:7d} {row.bytes_per_party / 1e6:11.2f} {travelling:>14} {sending:>15}"
    )
