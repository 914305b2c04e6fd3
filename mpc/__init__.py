"""What a party is: ring encoding, shares, streams, transports, metering, launching, errors."""

__version__ = "0.1.0"
