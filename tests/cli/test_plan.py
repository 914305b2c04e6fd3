"""A plan is what the run then costs: every round, byte and item of it, at each rank and layer."""

import dataclasses
import json
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpc.correlated.items import Mask, Masked, Triple
from mpc.correlated.seeded import Maker, SeededSource
from mpc.errors import UsageError
from mpc.launch import run_parties
from mpc.meter import Count, Meter
from mpc.party import Party
from mpc.sources import ListingSource
from mpc.transport.local import LocalHub
from protocols.base import CHUNK
from protocols.cli import main
from protocols.cli.console import Console
from protocols.cli.infer import infer
from protocols.cli.job import Job
from protocols.cli.jobfile import read_job
from protocols.cli.plan import planned_items
from protocols.cli.plan.choice import recommended
from protocols.cli.plan.cohort import Cohort, count_studies, parse_told
from protocols.cli.plan.dealing import Dealing
from protocols.cli.plan.dry import dry_runs
from protocols.cli.plan.estimate import Estimate, Layer, variants
from protocols.cli.plan.expand import expanded
from protocols.cli.plan.predict import Seconds, predicted
from protocols.cli.plan.rates import Network, told
from protocols.cli.plan.repeats import Tape, times_used, totals
from protocols.cli.start import Run, session_of
from protocols.cli.train import train
from protocols.nn.repeats import every
from protocols.nn.session import PROTOCOLS
from tests.cli.conftest import NEW_PATIENTS
from tests.cli.jobs import RADMPC, SITES, files, radmpc, ranks, write_job

job_module = import_module("protocols.cli.job")
SEEDS = [bytes([rank]) * 32 for rank in range(4)]


class RecordingSource(SeededSource):
    """A source for parties in one process that keeps the list of what it was asked for."""

    name, assumption = "recording", "nobody looks"

    def __init__(self, party):
        super().__init__(SEEDS[party.rank], is_last=party.rank == party.size - 1)
        self.maker, self.items = Maker(SEEDS[: party.size]), []

    def take(self, item):
        self.items.append(item)
        return super().take(item)

    def _corrections(self, number, item):
        return self.maker.corrections(number, item)


def really(job: Job, command: str) -> list[Any]:
    """Run a job with a thread for each party: each one's costs by path, and items.

    It starts as under mpirun with no source, or with a dealer beside: see `protocols.cli.start`.
    """

    def program(party):
        party.name = job.sites[party.rank].name
        party.introduce()
        if job.protocol == "rep3":
            party.broadcast(np.zeros(64, np.uint8))
            for what in ("code", "command", "settings"):
                party.agree(bytes(32), what)
        source = RecordingSource(party) if job.protocol == "additive" else None
        session = session_of(job, party, source)
        run = Run(job, party, session, Console(party.rank, party.name), source)
        run.together("find its model's code", lambda: None)
        party.agree(bytes(32), "the model's code")
        (train if command == "train" else infer)(run)
        return plain(party.meter.operations), source.items if source is not None else []

    return run_parties(len(job.sites), program)


def plain(operations):
    """Rounds and bytes to and from each peer by path, without the seconds."""
    return {
        path: (count.rounds, dict(count.sent), dict(count.received))
        for path, count in operations.items()
        if count.rounds
    }


def small(folder: Path, cohort: Path, parties: int = 3, **tables: Any) -> Path:
    sites = [
        {
            "name": name,
            "data": str(cohort / "cohort" / name),
            "labels": str(cohort / "cohort" / name / "labels.csv"),
            **({"new": str(cohort / "new" / name)} if name != "south" else {}),
        }
        for name in SITES[:parties]
    ]
    return write_job(folder / "job.toml", sites, **tables)


SGD = {"training": {"epochs": 4, "batch": 5}}
ADAM = {"training": {"epochs": 3, "batch": 64, "optimizer": "adam"}}
PRIVATE = {"training": {"epochs": 2, "batch": 7, "momentum": 0.0}}


@pytest.mark.parametrize(
    ("protocol", "parties", "settings", "public"),
    [
        ("rep3", 3, SGD, ["loss", "accuracy", "evaluation"]),
        ("additive", 3, SGD, ["accuracy"]),
        ("additive", 2, ADAM, ["loss", "accuracy", "evaluation"]),
        ("additive", 2, PRIVATE, []),
    ],
)
def test_a_plan_is_what_the_meters_see_and_the_source_is_asked_for(
    cohort, tmp_path, protocol, parties, settings, public
):
    top = {"protocol": protocol, "public": public}
    job = read_job(small(tmp_path, cohort, parties, top=top, **settings))
    for command in ("train", "infer"):
        planned = dry_runs(job, command, count_studies(job, command))
        counted = totals([dry.parts for dry in planned])
        for dry, costs, (seen, asked) in zip(planned, counted, really(job, command), strict=True):
            assert plain(costs) == seen
            assert expanded(dry.parts, dry.items) == asked
    if protocol == "additive":
        assert planned_items(job, "infer", count_studies(job, "infer")) == asked


def test_a_plan_for_cards_compares_as_many_at_once_as_they_want_but_not_with_items_from_files(
    cohort, tmp_path, monkeypatch
):
    monkeypatch.setattr(job_module, "CHUNK_ON_CARDS", 1 << 10)  # fewer than a batch has

    def rounds(**top):
        job = read_job(small(tmp_path, cohort, 2, top={"protocol": "additive", **top}))
        (costs, _) = totals([dry.parts for dry in dry_runs(job, "infer", Cohort(*[(4, 4)] * 3))])
        return sum(count.rounds for count in costs.values())

    told, usual = rounds(chunk=1 << 10), rounds(chunk=CHUNK)
    assert told > usual
    assert rounds(device="cuda") == told + 1  # for each tells the other where it computes
    assert rounds(device="cpu") == usual + 1
    made_ahead = {"source": "file", "device": "cuda"}
    assert rounds(**made_ahead) == rounds(**made_ahead, chunk=CHUNK)


@pytest.mark.mpi
def test_a_plan_is_what_the_manifests_of_a_trained_job_say(trained):
    new = {site: "0" if site == "south" else str(NEW_PATIENTS) for site in SITES}
    for command, studies in (("train", dict.fromkeys(SITES, "11+3")), ("infer", new)):
        job = read_job(trained.job("north"))
        planned = dry_runs(job, command, count_studies(job, command, studies))
        counted = totals([dry.parts for dry in planned])
        for rank, site in enumerate(SITES):
            assert_manifest(trained.manifest(site, command), counted[rank])


@pytest.mark.mpi
@pytest.mark.parametrize("source", ["file", "dealer"])
def test_the_dealer_makes_what_the_plan_lists_and_the_run_takes_all_of_it(cohort, tmp_path, source):
    path = small(tmp_path, cohort, 2, top={"protocol": "additive", "source": source}, **SGD)
    job, command = read_job(path), [*RADMPC, "train", path]
    if source == "file":
        assert radmpc("deal", path).code == 0
    ran = ranks(*[command] * job.ranks("train"))
    assert ran.code == 0, ran.err
    planned = dry_runs(job, "train", count_studies(job, "train"))
    for rank, costs in enumerate(totals([dry.parts for dry in planned])):
        manifest = json.loads((job.folder(rank) / "train" / "manifest.json").read_text())
        assert_manifest(manifest, costs)
        made = times_used(planned[rank].parts)
        served = manifest["source"]["served"]
        for kind in served:
            items = planned[rank].items
            assert served[kind] == sum(n for i, n in made.items() if items[i].kind == kind)
        if source == "file":
            assert manifest["source"]["left"] == manifest["source"]["skipped"] == 0


def assert_manifest(manifest: dict[str, Any], costs: dict[str, Count]) -> None:
    """A manifest is written just before the last round, in which all say that they have one."""

    def parts(operations: dict[str, Any]) -> dict[str, Any]:
        return {
            path: (c["rounds"], c["sent_to"], c["received_from"])
            for path, c in operations.items()
            if c["rounds"]
        }

    seen = parts(manifest["operations"])
    rounds, *bytes_of = seen["other"]
    more = ({peer: n + 1 for peer, n in counts.items()} for counts in bytes_of)
    seen["other"] = (rounds + 1, *more)
    assert parts({path: count.as_dict() for path, count in costs.items()}) == seen


# Loops, on a program that does nothing but ask for items.


class Program:
    """Asks for products as protocols do: what was a factor before is named."""

    def __init__(self, each: Any = every) -> None:
        self.each, self.items, self.masks = each, [], {}
        self.turns = 0

    def product(self, x: str, y: str, n: int = 1) -> None:
        number = len(self.items)
        names = [self.masks.get(value) for value in (x, y)]
        self.items.append(Triple("multiply", (n,), (n,), *names))
        fresh = iter(range(2))
        for value, name in zip((x, y), names, strict=True):
            if name is None:
                self.masks[value] = Mask(number, next(fresh))

    def other(self, n: int = 1) -> None:
        self.items.append(Masked(n, fraction=16))

    def fresh(self, *values: str) -> None:
        for value in values:
            self.masks.pop(value, None)


def stays(p: Program) -> None:
    """A weight that is opened in the first batch and stays, and one of the batch's own."""

    def batch(n: int) -> None:
        p.fresh("x")
        p.product("x", "w", n)
        p.product("x", "x2", n)
        p.fresh("x2")

    p.each(batch, [8, 8, 8, 8, 3], lambda n: n)


def left_to_the_next(p: Program) -> None:
    """A weight that each epoch opens in its evaluation, and the next one finds opened."""

    def step(number: tuple[int, int]) -> None:
        p.fresh("x")
        p.product("x", "w", number[1])
        if p.masks.get("momentum"):  # what the first step of all has no need of
            p.other(number[1])
        p.product("momentum", "frozen")
        p.fresh("w")

    def epoch(number: int) -> None:
        p.each(step, [(i, n) for i, n in enumerate([8, 8, 8, 8, 8, 5])], lambda s: s[1])
        p.each(lambda n: (p.fresh("t"), p.product("t", "w", n)), [16, 16, 16, 2], lambda n: n)
        p.other()

    p.other()
    p.each(epoch, range(7), lambda _: "epoch")
    p.product("w", "frozen")
    stays(p)


@pytest.mark.parametrize("program", [stays, left_to_the_next])
def test_what_is_left_out_of_loops_comes_back_with_the_right_names(program):
    real = Program()
    program(real)
    dry = Program()
    tape = Tape(Meter(), dry.items)
    dry.each = lambda body, things, kind: tape.each(body, things, kind, dry)
    program(dry)
    parts = tape.end()
    assert len(dry.items) < len(real.items)
    assert expanded(parts, dry.items) == real.items
    assert sum(times_used(parts).values()) == len(real.items)


def test_the_result_of_a_thing_left_out_is_that_of_the_last_like_it():
    program = Program()
    tape = Tape(Meter(), program.items)
    done = tape.each(lambda n: (n, program.other(n))[0] * 10, [4, 4, 4, 2, 4], lambda n: n, program)
    assert done == [40, 40, 40, 20, 40] and len(program.items) == 3


# What is planned for.


def test_planning_touches_no_file_and_needs_no_trained_model(cohort, tmp_path):
    path = small(tmp_path, cohort, top={"protocol": "additive"})
    before = files(tmp_path), files(cohort)
    for command in ("train", "infer"):
        job = read_job(path)
        assert planned_items(job, command, count_studies(job, command))
    assert (files(tmp_path), files(cohort)) == before == ({"job.toml"}, before[1])


def test_studies_that_are_elsewhere_are_told_by_number(cohort, tmp_path):
    sites = [{"name": "north", "data": str(cohort / "cohort" / "north"), "new": "nowhere"}]
    sites[0]["labels"] = f"{sites[0]['data']}/labels.csv"
    job = read_job(write_job(tmp_path / "job.toml", [*sites, {"name": "b"}, {"name": "c"}]))
    found = count_studies(job, "train", {"b": "100", "c": "30+7"})
    assert found == Cohort(train=(11, 75, 30), test=(3, 25, 7))
    assert count_studies(job, "infer", {"north": "5"}) == Cohort(new=(5, 0, 0))
    refused = {
        "the studies of b are not on this machine: say how many with --studies b=N": {"c": "9"},
        "b: a split needs two patients, and there are fewer": {"b": "1"},
        "there is no site 'x': choose north, b, c": {"x": "1"},
    }
    for words, studies in refused.items():
        with pytest.raises(UsageError) as caught:
            count_studies(job, "train", studies)
        assert str(caught.value) == words
    with pytest.raises(UsageError, match="the new studies of north are not on this machine"):
        count_studies(job, "infer")
    for text in ("many", "0", "7+00", "00", "7+", "+7", "1+2+3", "\u0661", "9" * 8, "9" * 5000):
        with pytest.raises(UsageError) as caught:
            count_studies(job, "train", {"b": text})
        assert str(caught.value) == (
            "studies of b: write N, or N+M to train and to test on, each from 1 to 9999999"
        )
    with pytest.raises(UsageError, match="new studies of b: write a number from 0 to 9999999"):
        count_studies(job, "infer", {"b": "3+4"})
    assert parse_told(["b=1", "c=2+3"]) == {"b": "1", "c": "2+3"}
    with pytest.raises(UsageError, match="says twice how many studies b has"):
        parse_told(["b=1", "c=2", "b=1"])


def test_more_studies_than_memory_are_one_line(tmp_path, capsys):
    path = write_job(tmp_path / "job.toml", intake={"size": 4096})
    told = [f"--studies={site}=9999999+9999999" for site in SITES]
    network = ["--rtt", "1ms", "--bandwidth", "1Gbit"]
    assert main(["plan", str(path), *told, *network]) == 2
    assert capsys.readouterr().err == (
        "radmpc: this plan needs more memory than this machine has\n"
    )


def test_a_file_that_cannot_be_used_is_told_by_its_site_and_no_listing_that_is_gone(
    cohort, tmp_path
):
    where = shutil.copytree(cohort / "cohort" / "north", tmp_path / "north")
    next(where.glob("*.dcm")).write_bytes(b"")
    sites = [{"name": "north", "data": "north", "labels": "north/labels.csv"}]
    sites += [{"name": "b"}, {"name": "c"}]
    job = read_job(write_job(tmp_path / "job.toml", sites, intake={"on_error": "fail"}))
    with pytest.raises(UsageError) as caught:
        count_studies(job, "train", {"b": "9", "c": "9"})
    assert str(caught.value) == (
        "north: 1 of its files cannot be used, and the job says to stop then; run radmpc train "
        "there: it lists them"
    )


def test_what_will_not_do_is_refused_before_the_work(tmp_path, capsys, monkeypatch):
    def never(*_: object) -> None:
        raise AssertionError("studies were counted")

    for module in ("protocols.cli.plan.command", "protocols.cli.deal"):
        monkeypatch.setattr(import_module(module), "count_studies", never)
    path = str(write_job(tmp_path / "job.toml"))
    for place, words in ((tmp_path, "this is a folder"), (tmp_path / "no" / "p", "is no folder")):
        assert main(["plan", path, "--json", str(place)]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"radmpc: --json {place}: ") and words in said
    (tmp_path / "out").write_text("")
    path = str(write_job(tmp_path / "job.toml", top={"protocol": "additive", "source": "file"}))
    assert main(["deal", path]) == 2
    assert "cannot make the folder" in capsys.readouterr().err


def test_every_protocol_that_fits_the_sites_is_planned(tmp_path):
    def fitting(count: int, **top: str) -> list[tuple[str, str | None]]:
        sites = [{"name": f"s{i}"} for i in range(count)]
        job = read_job(write_job(tmp_path / "job.toml", sites, top=top))
        return [(each.protocol, each.source) for each in variants(job)]

    assert fitting(3) == [("rep3", None), ("additive", "file")]
    assert fitting(3, protocol="additive") == [("rep3", None), ("additive", "dealer")]
    assert fitting(2, protocol="additive") == [("additive", "dealer")]
    assert fitting(4, protocol="additive", source="file") == [("additive", "file")]


def test_items_are_listed_where_nothing_is_sent():
    with pytest.raises(UsageError, match="nothing is sent"):
        ListingSource(Party(LocalHub(2).transport(0)))


# Time.


def test_time_is_computing_and_waiting_and_sending():
    here = Network(round_s=1e-3, bytes_per_s=1e6, cores=2, apart=False)
    counts = [{"a": Count(10, 0, {1: size}, {})} for size in (1000, 3000, 2000)]
    ranks = [{"a": 3.0}, {"a": 5.0}, {"a": 4.0}]
    (seconds,) = predicted(here, ranks, counts, None, None).values()
    assert seconds == Seconds(compute=4.0, rounds=0.01, wire=0.003)
    apart = dataclasses.replace(here, apart=True)
    (seconds,) = predicted(apart, [{"a": 4.0}], counts, None, None).values()
    assert seconds.compute == 4.0
    dealt = Dealing({"triple": (5, 2_000_000)}, {"a": 2_000_000}, seconds=7.0, opening_s=1e-6)
    (asked,) = predicted(here, ranks, counts, dealt, "dealer").values()
    assert asked.items == pytest.approx(7 + 5 * 1e-3 + 2)
    assert asked.compute == pytest.approx(4 * 4 / 3)  # a fourth rank among three on two cores
    (ahead,) = predicted(here, ranks, counts, dealt, "file").values()
    assert ahead.items == pytest.approx(2) and ahead.total == pytest.approx(6.013)


def test_a_network_is_told_in_usual_units():
    network = told("40ms", "100Mbit")
    assert (network.round_s, network.bytes_per_s, network.apart) == (0.04, 12.5e6, True)
    assert told("250us", "1.5 gbit").bytes_per_s == 187.5e6
    refused = [("40", "1Gbit"), ("\u0664ms", "1Gbit"), ("0.0ms", "1Gbit"), ("40ms", "0Gbit")]
    for rtt, bandwidth in [*refused, ("1ms", f"{'9' * 400}Gbit"), ("1ms", f"0.{'0' * 400}1Gbit")]:
        with pytest.raises(UsageError, match="write a number above 0 and"):
            told(rtt, bandwidth)
    with pytest.raises(UsageError, match=r"100MB: it is counted in bits: .*: 100Mbit"):
        told("40ms", "100MB")
    assert told("3600s", "1Gbit").round_s == 3600
    with pytest.raises(UsageError, match="choose at most 3600 s"):
        told("3601s", "1Gbit")


def test_the_fastest_is_recommended_with_what_makes_it_so():
    def one(protocol: str, source: str | None, seconds: Seconds) -> Estimate:
        layers = {"all": Layer(10, (1, 1, 1), 0, seconds)}
        dealt = Dealing({"triple": (1, 5_000_000)}, {}, 1.0, 0.0) if source else None
        about = PROTOCOLS[protocol].assumptions
        return Estimate(protocol, source, about, None, [], layers, dealt, 0, 1, CHUNK)

    slow = one("rep3", None, Seconds(5, 90, 5))
    fast = one("additive", "file", Seconds(7, 50, 6))
    choice = recommended([slow, fast])
    assert choice.name == "additive, file"
    assert choice.reason == (
        "63.0 s against 100.0 s of rep3, which waits for rounds for 90.0 s where additive does for "
        "50.0 s; what it needs was dealt ahead, 5.0 MB in 1.0 s"
    )
    assert "the only protocol here for 3 sites" in recommended([fast]).reason


def test_the_command_prints_and_writes_the_same(cohort, tmp_path, capsys):
    path, out = small(tmp_path, cohort), tmp_path / "plan.json"
    network = ["--rtt", "20ms", "--bandwidth", "1Gbit"]
    assert main(["plan", str(path), "--command", "infer", *network, "--json", str(out)]) == 0
    said, found = capsys.readouterr().out, json.loads(out.read_text())
    assert "infer with 8 new studies, 20ms, 1Gbit" in said and "2 Conv2d" in said
    assert "recommended: additive, file: " in said and "assumed by rep3: one site may" in said
    assert files(tmp_path) == {"job.toml", "plan.json"}
    for each in found["protocols"]:
        for party in each["parties"]:
            counts = party["operations"].values()
            assert sum(c["rounds"] for c in counts) == each["rounds"]
            assert sum(c["sent_bytes"] for c in counts) == party["sent_bytes"]
        layers = each["layers"].values()
        assert sum(layer["rounds"] for layer in layers) == each["rounds"]
        assert sum(layer["sent_bytes"][0] for layer in layers) == each["parties"][0]["sent_bytes"]
        assert f"{each['rounds']:,}" in said and each["peak_bytes"] > 1e8
        assert each["seconds"]["rounds"] == pytest.approx(0.02 * each["rounds"], rel=1e-3)
        kinds = each["offline"]["kinds"].values() if each["offline"] else []
        dealt = sum(layer["dealt_bytes"] for layer in layers)
        assert sum(kind["bytes"] for kind in kinds) == dealt
    assert main(["plan", str(path), "--rtt", "20ms"]) == 2
    assert "give both, or neither" in capsys.readouterr().err
