"""Who makes the correlated randomness of additive sharing, and what that assumes.

- `insecure`: for tests, all parties in one process
- `first_party`: rank 0, as CrypTen does it by default
- `dealer`: a rank of its own, which answers while the parties compute
- `stored`: files made ahead, one a party; `sealed` makes them
- `nothing`: nobody, where nothing is needed
- `listing`: nobody; lists what would be needed, for a plan
"""

from mpc.sources.dealer import DealerSource, serve
from mpc.sources.first_party import FirstPartySource
from mpc.sources.insecure import InsecureSource
from mpc.sources.listing import ListingSource
from mpc.sources.nothing import NoSource
from mpc.sources.sealed import deal
from mpc.sources.stored import StoredSource

__all__ = [
    "DealerSource",
    "FirstPartySource",
    "InsecureSource",
    "ListingSource",
    "NoSource",
    "StoredSource",
    "deal",
    "serve",
]
