"""For every test: drawing and checking may take as long as a busy machine needs."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# Of the tests with these words in their names, each has run on what stands for a card.
CARD_WORDS = ("cuda", "card")


def pytest_terminal_summary(terminalreporter):
    """Say which checks a card is needed for: what passed without one is not all there is."""
    if os.environ.get("RADMPC_TEST_CARD") == "cuda":
        return
    passed = terminalreporter.stats.get("passed", [])
    count = sum(any(word in report.nodeid.lower() for word in CARD_WORDS) for report in passed)
    if count:
        terminalreporter.write_line(
            f"without a GPU: {count} tests of cards passed on an emulator and on arrays that stand "
            "for CuPy's. scripts/gpu-check needs a GPU: it runs them on it, and beside them CuPy's "
            "own launches, cuBLAS, page-locked copies, and every rate."
        )
