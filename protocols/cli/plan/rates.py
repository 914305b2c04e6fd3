"""What messages cost: as measured on this machine, or as told of a network."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass

from mpc.errors import UsageError
from mpc.launch import mpirun

_TIMES = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_RATES = {"kbit": 1e3, "Mbit": 1e6, "Gbit": 1e9}
_BYTES = {"b", "kb", "mb", "gb", "kib", "mib", "gib", "bytes", "kbytes", "mbytes", "gbytes"}
_MOST_S = 3600.0  # of a round trip


@dataclass(frozen=True)
class Network:
    """What is between the parties.

    Args:
        round_s: seconds of a round, whatever is sent.
        bytes_per_s: that a party sends; several peers share it.
        cores: of each machine.
        apart: whether each party has a machine of its own.
    """

    round_s: float
    bytes_per_s: float
    cores: int
    apart: bool


def this_machine(ranks: int) -> Network:
    """As many ranks side by side as the job would have here, measured now.

    Raises:
        UsageError: mpirun is missing, or fails.
    """
    line, environment = mpirun(ranks, ["-m", "protocols.cli.plan.wire", str(ranks)])
    ran = subprocess.run(
        line, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    try:
        found = json.loads(ran.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        raise UsageError(
            "mpirun does not start ranks here, so messages cannot be timed: see radmpc doctor, "
            "or tell of a network with --rtt and --bandwidth"
        ) from None
    return Network(found["round_s"], found["bytes_per_s"], _cores(), apart=False)


def told(rtt: str, bandwidth: str) -> Network:
    """A network between machines like this one.

    A round is counted as one round trip: half of one is on its way, and MPI asks before it sends
    what is large.

    Raises:
        UsageError: what is told is no time above 0 and up to an hour, or no rate above 0.
    """
    seconds = _number(rtt, _TIMES, "--rtt", "40ms")
    if seconds > _MOST_S:
        raise UsageError(f"--rtt {rtt}: choose at most {_MOST_S:.0f} s")
    bits = _number(bandwidth, _RATES, "--bandwidth", "100Mbit")
    return Network(seconds, bits / 8, _cores(), apart=True)


def _number(text: str, units: dict[str, float], option: str, example: str) -> float:
    # Digits enough for any network, and few enough that no time becomes infinite.
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([A-Za-z]+)", text)
    known = {unit.lower(): value for unit, value in units.items()}
    unit = found[2].lower() if found is not None else ""
    if found is None or unit not in known or not float(found[1]):
        bits = "it is counted in bits: " if units is _RATES and unit in _BYTES else ""
        raise UsageError(
            f"{option} {text}: {bits}write a number above 0 and {' or '.join(units)}: {example}"
        )
    return float(found[1]) * known[unit]


def _cores() -> int:
    return len(os.sched_getaffinity(0))
