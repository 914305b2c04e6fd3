"""Whether MPI takes a card's memory: what libraries of several kinds answer, and this one."""

import ctypes

import pytest

from mpc.transport.aware import asked


class Library:
    """A library as ctypes has it: only what it exports is there."""

    def __init__(self, **exported):
        vars(self).update(exported)


def by_kind(answer, error=0):
    """MPICH's question; Intel's cards and AMD's are 1 and 2."""

    def question(kind, found):
        found._obj.value = answer if kind == 0 else 1 - answer
        return error

    return question


@pytest.mark.parametrize(
    ("library", "takes"),
    [
        (Library(), False),
        (Library(MPIX_Query_cuda_support=lambda: 1), True),
        (Library(MPIX_Query_cuda_support=lambda: 0), False),
        (Library(MPIX_GPU_query_support=by_kind(1)), True),
        (Library(MPIX_GPU_query_support=by_kind(0)), False),
        (Library(MPIX_GPU_query_support=by_kind(1, error=1)), False),
        (Library(MPIX_Query_cuda_support=lambda: 0, MPIX_GPU_query_support=by_kind(1)), False),
    ],
    ids=["none", "open yes", "open no", "mpich yes", "mpich no", "error", "both"],
)
def test_mpi_takes_cards_only_if_it_says_so(library, takes):
    assert asked(library) is takes


def test_a_library_that_has_neither_question_takes_none():
    assert asked(ctypes.CDLL(None)) is False
