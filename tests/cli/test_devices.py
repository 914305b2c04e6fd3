"""A site with a card works with sites that have none, and one whose card will not do says so."""

import shutil

import pytest

from kernels.cuda import card
from kernels.machines import HOST
from protocols.cli.infer import infer
from protocols.cli.start import Run
from protocols.cli.train import train
from tests.cli.jobs import SITES, files, here, radmpc, write_job
from tests.kernels.oncard import CARD, OnCard


@pytest.fixture(scope="module")
def has_card():
    try:
        return bool(card.devices())
    except card.DeviceError:
        return False


def test_one_site_on_a_card_trains_and_infers_with_two_that_have_none(cohort, tmp_path):
    shutil.copytree(cohort, tmp_path, dirs_exist_ok=True)
    sites = [
        {
            "name": name,
            "data": f"cohort/{name}",
            "labels": f"cohort/{name}/labels.csv",
            "new": f"new/{name}",
        }
        for name in SITES
    ]
    job = write_job(tmp_path / "job.toml", sites)
    kinds = {}

    def watched(run: Run) -> None:
        """Where the weights are once they were trained is where the party keeps its shares."""
        train(run)
        term = run.session.share(None if run.party.rank else [1.0], owner=0).secret.share.own
        kinds[run.party.rank] = type(term)

    memories = (HOST, CARD, HOST)
    assert here(job, watched, memories=memories) == [None] * 3
    assert [kinds[rank] is OnCard for rank in range(3)] == [False, True, False]
    assert here(job, infer, memories=memories) == [None] * 3
    for site in SITES:
        assert (tmp_path / "out" / site / "infer" / "manifest.json").is_file()


def test_a_job_for_a_card_that_is_not_there_ends_in_one_line_and_leaves_nothing(
    cohort, tmp_path, has_card
):
    if has_card:
        pytest.skip("a card is here")
    shutil.copytree(cohort, tmp_path, dirs_exist_ok=True)
    before = files(tmp_path)
    job = write_job(tmp_path / "job.toml", top={"device": "cuda"})
    ran = radmpc("train", job)
    said = set(ran.err.splitlines())
    assert ran.code == 2
    assert all(line.startswith("radmpc: device cuda") for line in said) and len(said) == 1
    assert set(files(tmp_path)) - set(before) == {"job.toml"}


def test_only_a_card_out_of_memory_is_told_as_that():
    assert card.shortage(MemoryError("no")) is None
    OutOfMemoryError = type("OutOfMemoryError", (MemoryError,), {})
    assert card.shortage(OutOfMemoryError("no")) is None
