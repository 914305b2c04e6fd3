"""One of CrypTen's test modules, in this process and in those that its tests start.

`python suite_main.py MODULE RESULTS SECONDS` writes what became of each test, as JSON. CrypTen's
tests start their parties, which import `suite_party` first: so all of them compute with radmpc
where the environment says so. They are forked from a server that has done so and has imported the
tests: a test takes a second or two, where its parties' imports would take ten.
"""

import json
import multiprocessing
import signal
import sys
import time
import unittest
from pathlib import Path

from tests.interop import suite_party


class Record(unittest.TextTestResult):
    """What became of each test, and how long it took."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.record, self.limit_s = {}, 0

    def startTest(self, test):  # noqa: N802  # unittest's name
        super().startTest(test)
        self.record[test.id()] = {"outcome": "passed"}
        self._since = time.monotonic()
        signal.alarm(self.limit_s)

    def stopTest(self, test):  # noqa: N802
        signal.alarm(0)
        self.record[test.id()]["seconds"] = round(time.monotonic() - self._since, 1)
        super().stopTest(test)

    def addSuccess(self, test):  # noqa: N802
        super().addSuccess(test)
        # CrypTen's tests pass where nobody reported an error, and who died reported none.
        if died := [p.name for p in getattr(test, "processes", ()) if p.exitcode]:
            self._note(test, "failed", f"ended without a report: {', '.join(died)}")

    def addFailure(self, test, err):  # noqa: N802
        super().addFailure(test, err)
        self._note(test, "failed", str(err[1]))

    def addError(self, test, err):  # noqa: N802
        super().addError(test, err)
        self._note(test, "failed", repr(err[1]))

    def addSkip(self, test, reason):  # noqa: N802
        super().addSkip(test, reason)
        self._note(test, "skipped", reason)

    def addSubTest(self, test, subtest, err):  # noqa: N802
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._note(test, "failed", str(err[1]))

    def _note(self, test, outcome, why):
        self.record.setdefault(test.id(), {}).update(outcome=outcome, why=why[-1500:])


def too_long(*_):
    raise TimeoutError("the test took too long")


def main():
    module, results, limit = sys.argv[1:]
    signal.signal(signal.SIGALRM, too_long)
    served = multiprocessing.get_context("forkserver")
    served.set_forkserver_preload([suite_party.__name__, module])
    served.Process = suite_party.Party
    multiprocessing.get_context = lambda _=None: served  # CrypTen asks for "spawn"
    suite = unittest.defaultTestLoader.loadTestsFromName(module)

    def made(*args, **kwargs):
        record = Record(*args, **kwargs)
        record.limit_s = int(limit)
        return record

    ran = unittest.TextTestRunner(resultclass=made, verbosity=2).run(suite)
    Path(results).write_text(json.dumps(ran.record))


if __name__ == "__main__":
    main()
