"""A site with a card works with sites that have none, and one whose card will not do says so."""

import shutil

import pytest

from kernels.cuda import card
from kernels.machines import HOST
from mpc.launch import run_parties
from mpc.sources import InsecureSource
from protocols.base import CHUNK, CHUNK_ON_CARDS
from protocols.cli.infer import infer
from protocols.cli.jobfile import read_job
from protocols.cli.start import Run, session_of
from protocols.cli.train import train
from protocols.nn import Session
from tests.cli.jobs import SITES, files, here, radmpc, write_job
from tests.kernels.oncard import CARD, OnCard


@pytest.fixture(scope="module")
def has_card():
    try:
        return bool(card.devices())
    except card.DeviceError:
        return False


@pytest.mark.parametrize("protocol", ["rep3", "additive"])
def test_one_site_on_a_card_trains_and_infers_with_those_that_have_none(cohort, tmp_path, protocol):
    shutil.copytree(cohort, tmp_path, dirs_exist_ok=True)
    names = SITES if protocol == "rep3" else SITES[:2]
    sites = [
        {
            "name": name,
            "data": f"cohort/{name}",
            "labels": f"cohort/{name}/labels.csv",
            "new": f"new/{name}",
        }
        for name in names
    ]
    job = write_job(tmp_path / "job.toml", sites, top={"protocol": protocol})
    kinds = {}

    def watched(run: Run) -> None:
        """Where the weights are once they were trained is where the party keeps its shares."""
        train(run)
        term = run.session.share(None if run.party.rank else [1.0], owner=0).secret.share.own
        kinds[run.party.rank] = type(term)

    memories = (HOST, CARD, HOST)[: len(names)]
    assert here(job, watched, memories=memories) == [None] * len(names)
    assert [kinds[rank] is OnCard for rank in sorted(kinds)] == [m is CARD for m in memories]
    assert here(job, infer, memories=memories) == [None] * len(names)
    for site in names:
        assert (tmp_path / "out" / site / "infer" / "manifest.json").is_file()


DEALT = {"protocol": "additive", "source": "dealer"}
FILED = {"protocol": "additive", "source": "file"}


@pytest.mark.parametrize(
    "top, memories, chunk, asks",
    [
        ({}, (CARD,) * 3, CHUNK_ON_CARDS, True),
        ({}, (CARD, HOST, CARD), CHUNK, True),
        ({}, (HOST,) * 3, CHUNK, True),
        ({"chunk": 4096}, (CARD,) * 3, 4096, False),
        (DEALT, (CARD, CARD), CHUNK_ON_CARDS, True),
        (DEALT, (CARD, HOST), CHUNK, True),
        (FILED, (CARD, CARD), CHUNK, False),
        ({**FILED, "chunk": 4096}, (CARD, HOST), 4096, False),
    ],
    ids=str,
)
def test_where_a_job_says_no_chunk_the_sites_find_out_together_which_suits_all_of_them(
    tmp_path, top, memories, chunk, asks
):
    names = SITES[: len(memories)]
    job = read_job(write_job(tmp_path / "job.toml", top=top, names=names))

    def program(party):
        party.memory = memories[party.rank]
        source = InsecureSource(party) if top.get("source") else None
        start = party.meter.total.rounds
        found = session_of(job, party, source).protocol.chunk
        began = party.meter.total.rounds
        Session(party, protocol=job.protocol, source=source, chunk=found)
        return found, (began - start) - (party.meter.total.rounds - began)

    assert run_parties(len(names), program) == [(chunk, asks)] * len(names)


@pytest.mark.parametrize("top", [{}, {"protocol": "additive", "source": "file"}], ids=str)
def test_a_job_for_a_card_that_is_not_there_ends_in_one_line_and_leaves_nothing(
    cohort, tmp_path, has_card, top
):
    if has_card:
        pytest.skip("a card is here")
    shutil.copytree(cohort, tmp_path, dirs_exist_ok=True)
    before = files(tmp_path)
    job = write_job(tmp_path / "job.toml", top={"device": "cuda", **top})
    ran = radmpc("train", job)
    said = set(ran.err.splitlines())
    assert ran.code == 2
    assert all(line.startswith("radmpc: device cuda") for line in said) and len(said) == 1
    assert set(files(tmp_path)) - set(before) == {"job.toml"}


def test_a_dealer_asks_for_no_card_and_ends_with_the_parties_who_do(cohort, tmp_path, has_card):
    if has_card:
        pytest.skip("a card is here")
    shutil.copytree(cohort, tmp_path, dirs_exist_ok=True)
    top = {"protocol": "additive", "device": "cuda"}
    ran = radmpc("train", write_job(tmp_path / "job.toml", top=top, names=SITES[:2]))
    own = {line for line in ran.complaints if line.startswith("radmpc: device cuda")}
    assert ran.code == 2 and len(own) == 1
    assert all(" ended" in line for line in {*ran.complaints} - own), ran.err


def test_only_a_card_out_of_memory_is_told_as_that():
    assert card.shortage(MemoryError("no")) is None
    OutOfMemoryError = type("OutOfMemoryError", (MemoryError,), {})
    assert card.shortage(OutOfMemoryError("no")) is None
