"""What stands for CuPy's streams, events and page-locked memory: all is done as late as it may be.

A stream's work waits until somebody waits for it: the host, another stream that does what comes
after, or who asks for an event the third time. So whoever uses data too early finds what lay there
before, and whoever lets go of page-locked memory too early finds it spoiled.
"""

import ctypes
import threading
from collections import defaultdict, deque
from types import SimpleNamespace

import numpy as np

ASKED = 3  # times, before an event has come
SPOILED = 0xA5
NOT_READY = 600  # CUDA's


class CUDARuntimeError(RuntimeError):
    """Of a status, as CuPy's."""

    def __init__(self, status):
        super().__init__(f"status {status}")
        self.status = status


class Event:
    """Something in a stream's queue. Where `late`, it comes only if somebody waits for it."""

    late = False

    def __init__(self, disable_timing=False):
        assert disable_timing, "timing slows an event down"
        self.stream, self.over, self.asked, self.status = None, False, 0, NOT_READY

    @property
    def ptr(self):
        return self

    def finish(self):
        """Do all that comes before."""
        while not self.over:
            self.stream.one()

    def query(self):
        self.asked += 1
        if self.asked >= ASKED and not self.late:
            self.finish()
        return 0 if self.over else self.status

    @property
    def done(self):
        over = self.query() == 0
        threading.Event().wait(0)  # other threads go first
        return over


class Stream:
    """Work in order, of one device."""

    def __init__(self, non_blocking=False):
        self.non_blocking, self.queue = non_blocking, deque()

    def add(self, work):
        self.queue.append(work)

    def one(self):
        self.queue.popleft()()

    def synchronize(self):
        while self.queue:
            self.one()

    def record(self, event):
        def comes():
            event.over = True

        event.stream, event.over = self, False
        self.add(comes)
        return event

    def wait_event(self, event):
        self.add(event.finish)


class Device:
    """The only one."""

    id = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


DEVICE = Device()
_THREADS = threading.local()


def get_current_stream():
    """Of this thread."""
    if not hasattr(_THREADS, "stream"):
        _THREADS.stream = Stream()
    return _THREADS.stream


class Lease:
    """Page-locked memory that was given out; spoiled and free again when the last array is gone."""

    def __init__(self, pool, raw):
        self._pool, self._raw = pool, raw
        self.__array_interface__ = raw.__array_interface__

    def __del__(self):
        self._raw[:] = SPOILED
        self._pool.free[self._raw.size].append(self._raw)


class Pool:
    """CuPy's page-locked memory: what was locked is kept, by size."""

    def __init__(self, most=10**9):
        self.free, self.most = defaultdict(list), most
        self.locked, self.starts = [], set()

    def empty_pinned(self, shape, dtype):
        nbytes = -(-np.dtype(dtype).itemsize * int(np.prod(shape)) // 512) * 512
        if not self.free[nbytes]:
            if len(self.locked) == self.most:
                raise CUDARuntimeError(2)
            self.locked.append(np.full(nbytes, SPOILED, np.uint8))
            self.starts.add(_start(self.locked[-1]))
            self.free[nbytes].append(self.locked[-1])
        raw = np.asarray(Lease(self, self.free[nbytes].pop()))
        return np.ndarray(shape, dtype, buffer=raw)

    def has(self, a):
        """Whether an array begins where one of its blocks does."""
        return _start(a) in self.starts


POOL = Pool()
POOLS = [POOL]


def _start(a):
    return a.__array_interface__["data"][0]


def _memory(a):
    """The bytes of an array of the host, which no longer keep it from being let go."""
    assert a.flags.c_contiguous
    return np.frombuffer((ctypes.c_uint8 * a.nbytes).from_address(_start(a)), np.uint8)


class Copied(np.ndarray):
    """CuPy's two copies, between NumPy's memory and itself."""

    device = DEVICE

    def get(self, stream=None, order="C", out=None, blocking=True):
        assert type(out) is np.ndarray and (out.shape, out.dtype) == (self.shape, self.dtype)
        source, stream = self.view(np.ndarray), stream or get_current_stream()
        target = _memory(out)
        stream.add(lambda: np.copyto(target, np.ascontiguousarray(source).reshape(-1).view("u1")))
        if blocking or not any(pool.has(out) for pool in POOLS):
            stream.synchronize()
        return out

    def set(self, a, stream=None):
        assert type(a) is np.ndarray and (a.shape, a.dtype) == (self.shape, self.dtype)
        target, stream = self.view(np.ndarray), stream or get_current_stream()
        source = _memory(a)
        stream.add(lambda: np.copyto(target, source.view(target.dtype).reshape(target.shape)))
        if not any(pool.has(a) for pool in POOLS):
            stream.synchronize()


def modules(pool=POOL):
    """CuPy and its other module, as far as copies go."""
    if pool not in POOLS:
        POOLS.append(pool)
    runtime = SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError, eventQuery=lambda event: event.query()
    )
    cuda = SimpleNamespace(
        Event=Event, Stream=Stream, get_current_stream=get_current_stream, runtime=runtime
    )
    return SimpleNamespace(cuda=cuda), SimpleNamespace(empty_pinned=pool.empty_pinned)
