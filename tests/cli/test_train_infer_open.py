"""Train, infer and open under mpirun: each site has its own results, true ones, and no other's."""

import csv
import json
from datetime import UTC, datetime

import numpy as np
import pydicom
import pytest
import torch

from mpc.launch import run_parties
from protocols.base import CHUNK
from protocols.cli.jobfile import read_job
from protocols.cli.manifest import versions
from protocols.cli.model import make_model, recipe
from protocols.nn import Session
from protocols.radiology import Intake, read_site
from protocols.radiology.models import radcnn
from protocols.training import checkpoint
from tests.cli.conftest import CLASSES, NEW_PATIENTS, PLANTED, everything_written
from tests.cli.jobs import SITES, files

pytestmark = pytest.mark.mpi
INTAKE = Intake(size=16, classes=tuple(CLASSES))
REPORTS = {f"{c}/{f}" for c in ("train", "infer", "open") for f in ("manifest.json", "report.html")}
KEPT = {"party.key", "problems-train.csv", "model.share", "epoch-002.share", "epoch-003.share"}


def test_each_site_has_its_own_results_and_nothing_else(trained):
    for site in SITES:
        own = {"infer/predictions.json", "infer/predictions.csv"} if site != "south" else set()
        own |= {"open/model.pt"} if site == "south" else set()
        assert files(trained.out(site)) == REPORTS | KEPT | own
        assert {p.name for p in (trained.home / site / "out").iterdir()} == {site}


def test_every_file_written_is_its_owners_alone(trained):
    for site in SITES:
        for name in files(trained.home / site / "out"):
            mode = (trained.home / site / "out" / name).stat().st_mode & 0o777
            assert mode == 0o600, f"{name} has mode {mode:o}"


def test_a_rank_opens_no_file_and_lists_no_folder_of_another_site(trained):
    for site in SITES:
        paths = trained.opened_paths(site)
        own = trained.home / site
        assert own / "data" / f"{PLANTED}-Xiomara.dcm" in paths  # the watch does see
        assert own / "out" / site / "party.key" in paths
        for other in set(SITES) - {site}:
            assert not [p for p in paths if p.is_relative_to(trained.home / other)]


def test_predictions_are_of_the_sites_own_studies_and_whole(trained):
    for site in ("north", "west"):
        body = json.loads((trained.out(site) / "infer" / "predictions.json").read_text())
        new = trained.home / site / "new"
        uids = {p.name: str(pydicom.dcmread(p).StudyInstanceUID) for p in new.glob("*.dcm")}
        assert len(uids) == NEW_PATIENTS and body["classes"] == CLASSES
        assert {s["file"]: s["StudyInstanceUID"] for s in body["studies"]} == uids
        with (trained.out(site) / "infer" / "predictions.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        for study, row in zip(body["studies"], rows, strict=True):
            chances = [study["probabilities"][name] for name in CLASSES]
            assert sum(chances) == pytest.approx(1, abs=1e-9) and min(chances) >= 0
            assert study["predicted"] == CLASSES[int(np.argmax(chances))] == row["predicted"]
            for name, chance in zip(CLASSES, chances, strict=True):
                assert float(row[f"probability of {name}"]) == pytest.approx(chance, rel=1e-5)


def test_no_site_learns_of_anothers_studies(trained):
    for site in SITES:
        written = b"".join(everything_written(trained.home / site / "out").values())
        for other in set(SITES) - {site}:
            for path in (trained.home / other).rglob("study-*.dcm"):
                assert str(pydicom.dcmread(path).StudyInstanceUID).encode() not in written


def test_no_patients_name_or_text_is_in_anything_that_is_written_or_said(trained):
    # A file's name, which may be a patient's, is in two files of the site that has the file.
    assert len(trained.planted) > 60 and "Phantomsworth" in trained.planted
    said = "".join(ran.out + ran.err for ran in trained.ran.values())
    assert not [text for text in trained.planted if text in said]
    for site in SITES:
        for name, content in everything_written(trained.home / site / "out").items():
            found = {text for text in trained.planted if text.encode() in content}
            if name in (f"{site}/problems-train.csv", f"{site}/train/report.html"):
                found -= {PLANTED.upper()}
            assert not found, f"{name} of {site} holds {sorted(found)}"


def test_files_that_were_not_taken_are_listed_at_their_own_site(trained):
    for site in SITES:
        with (trained.out(site) / "problems-train.csv").open(newline="") as file:
            header, *rows = csv.reader(file)
        assert header == ["file", "reason"]
        ((file_name, reason),) = rows
        assert file_name == f"{PLANTED.upper()}-broken.dcm" and "no line in the labels" in reason
        assert trained.manifest(site, "train")["files_not_taken"] == 1
        report = (trained.out(site) / "train" / "report.html").read_text()
        assert file_name in report and reason in report
        assert f"[{site}] 1 file not taken: {trained.out(site) / 'problems-train.csv'}" in (
            trained.ran["train"].out
        )


def test_the_manifest_tells_what_was_done(trained):
    for rank, site in enumerate(SITES):
        job = read_job(trained.job(site))
        manifest = trained.manifest(site, "train")
        assert manifest["command"] == "train" and manifest["job"]["training"]["epochs"] == 3
        assert manifest["job"] == json.loads(json.dumps(job.common()))
        assert manifest["digest"] == job.digest().hex()
        assert manifest["party"] == {"rank": rank, "name": site}
        assert (manifest["device"], manifest["chunk"]) == ("cpu", CHUNK)
        assert manifest["parties"] == list(SITES)
        found = manifest["versions"]
        assert {**found, "mpi": ""} == {**versions(), "mpi": ""} and "Open MPI" in found["mpi"]
        assert "honest" in manifest["assumptions"]["adversary"]
        started = datetime.fromisoformat(manifest["started"])
        assert started.utcoffset() is not None and started.tzinfo == UTC
        age = datetime.now(UTC) - started
        assert 0 <= age.total_seconds() < 3600 and 0 < manifest["seconds"] < 600


def test_the_manifests_costs_add_up(trained):
    manifests = [trained.manifest(site, "train") for site in SITES]
    for rank, manifest in enumerate(manifests):
        total, parts = manifest["total"], manifest["operations"].values()
        for key in ("rounds", "sent_bytes", "received_bytes"):
            assert total[key] == sum(part[key] for part in parts) > 0
        assert total["seconds"] == pytest.approx(sum(p["seconds"] for p in parts), abs=1e-3)
        assert total["sent_bytes"] == sum(total["sent_to"].values())
        # The manifest is written between two rounds: what one has sent, the other has received.
        for peer, sent in total["sent_to"].items():
            assert manifests[int(peer)]["total"]["received_from"][str(rank)] == sent
        assert total["rounds"] == manifests[0]["total"]["rounds"]
        epochs = manifest["epochs"]
        assert [row["epoch"] for row in epochs] == [1, 2, 3]
        # The first step makes the momentum; from then on an epoch is like another.
        assert epochs[0]["rounds"] <= epochs[1]["rounds"] == epochs[2]["rounds"]
        assert sum(row["rounds"] for row in epochs) < total["rounds"]
        assert sum(row["bytes"] for row in epochs) < total["sent_bytes"]
        assert 0 < sum(row["seconds"] for row in epochs) < manifest["seconds"]


def test_all_that_is_opened_while_training_is_what_the_job_says(trained):
    manifests = [trained.manifest(site, "train") for site in SITES]
    per_epoch = [
        text
        for epoch in (1, 2, 3)
        for text in (
            f"epoch {epoch}: mean loss over all training studies",
            "evaluation: confusion matrix over all test studies",
        )
    ]
    end = [
        f"evaluation: {what} over all test studies"
        for what in ("confusion matrix", "ROC counts", "pairs in order, for the AUC")
    ]
    for manifest in manifests:
        assert [o["reason"] for o in manifest["opened"]] == per_epoch + end
        assert all(o["to"] is None for o in manifest["opened"])
        assert [o["shape"] for o in manifest["opened"]] == [[], [2, 2]] * 3 + [
            *([2, 2], [129, 2], [1, 1])
        ]


def test_probabilities_are_opened_to_the_owner_of_the_studies_alone(trained):
    for site in SITES:
        manifest = trained.manifest(site, "infer")
        assert [(o["to"], o["shape"]) for o in manifest["opened"]] == [
            ("north", [NEW_PATIENTS, 2]),
            ("west", [NEW_PATIENTS, 2]),
        ]
        assert manifest["studies"] == {"classified": 2 * NEW_PATIENTS}


def test_the_model_is_opened_to_the_site_that_was_named_tensor_by_tensor(trained):
    names = list(radcnn(size=16).state_dict())
    for site in SITES:
        opened = trained.manifest(site, "open")["opened"]
        assert [o["reason"] for o in opened] == [
            f"release of the model to south: {n}" for n in names
        ]
        assert {o["to"] for o in opened} == {"south"}


def test_every_party_comes_to_the_same_evaluation_and_it_holds_together(trained):
    manifests = [trained.manifest(site, "train") for site in SITES]
    for manifest in manifests:
        e, studies = manifest["evaluation"], manifest["studies"]
        assert (
            e == manifests[0]["evaluation"] and manifest["epochs"][-1]["accuracy"] == e["accuracy"]
        )
        matrix = np.array(e["confusion"])
        assert matrix.sum() == studies["test"] and studies["train"] + studies["test"] == 3 * 14
        assert e["accuracy"] == pytest.approx(np.trace(matrix) / matrix.sum())
        assert e["classes"] == CLASSES
        assert 0 <= e["auc_low"] <= e["auc"] <= e["auc_high"] <= 1
        for curve in (e["fpr"], e["tpr"]):
            assert curve[0] == 0 and curve[-1] == 1 and curve == sorted(curve)


def test_what_the_console_and_the_report_say_is_in_the_manifest(trained):
    out = trained.ran["train"].out
    for site in SITES:
        manifest = trained.manifest(site, "train")
        report = (trained.out(site) / "train" / "report.html").read_text()
        e = manifest["evaluation"]
        for row in manifest["epochs"]:
            assert f"epoch {row['epoch']}/3  loss {row['loss']:.4f}  " in out
            assert f"{row['loss']:.4f}" in report and f"{row['rounds']:,}" in report
        assert f"test accuracy {e['accuracy']:.1%}, AUC {e['auc']:.3f}" in out
        assert f"AUC {e['auc']:.3f}" in report and manifest["digest"] in report
        assert f"{manifest['total']['rounds']:,} in the whole run" in report
        for opening in manifest["opened"]:
            assert opening["reason"] in report
        assert f"nodules — train, {site}" in report
        for layer in ("0 Conv2d", "4 MaxPool2d", "9 Linear", "sharing", "evaluation"):
            assert f">{layer}<" in report
        for other in set(SITES) - {site}:
            assert str(trained.home / other) not in report


def test_mpiruns_ranks_write_lines_and_no_escape_codes_where_no_terminal_is(trained):
    for ran in trained.ran.values():
        assert "\x1b" not in ran.out + ran.err and "\r" not in ran.out
        assert not ran.complaints
    assert "[south] 11 studies to train on, 3 to test on" in trained.ran["train"].out


def test_the_released_model_is_the_one_that_the_shares_hold(trained):
    plain = radcnn(classes=2, channels=1, size=16)
    plain.load_state_dict(torch.load(trained.out("south") / "open" / "model.pt", weights_only=True))
    plain.eval()
    site = read_site(trained.home / "north" / "new", None, INTAKE)
    expected = plain(torch.from_numpy(site.images)).detach()

    def program(party):
        session, out = Session(party), trained.out(SITES[party.rank])
        job = read_job(trained.job(SITES[party.rank]))
        model = make_model(job)
        key = checkpoint.read_key(out / "party.key")
        saved = checkpoint.read_share(session, model, out / "model.share", key)
        assert saved.header.model == recipe(job) and saved.header.epoch == 3
        checkpoint.load(session, model, saved)
        model.eval()
        with torch.no_grad():
            x = session.share(site.images if party.rank == 0 else None, owner=0)
            logits = session.open(model(x), reason="a test on made-up studies")
        weights = [session.open(p, reason="a test") for p in model.parameters()]
        return logits, weights

    for logits, weights in run_parties(3, program):
        # The released weights are the shared ones, bit for bit; the logits differ by rounding:
        # each of five products rounds to 2^-16, and later weights add errors up at random.
        assert all(torch.equal(w, p) for w, p in zip(weights, plain.parameters(), strict=True))
        assert (logits - expected).abs().max() < 2**-9
    body = json.loads((trained.out("north") / "infer" / "predictions.json").read_text())
    chances = {s["file"]: list(s["probabilities"].values()) for s in body["studies"]}
    for study, row in zip(site.studies, torch.softmax(expected, 1), strict=True):
        assert np.abs(np.array(chances[study.file]) - row.numpy()).max() < 2**-8


def test_the_weights_are_nowhere_but_at_the_site_they_were_released_to(trained):
    state = torch.load(trained.out("south") / "open" / "model.pt", weights_only=True)
    for site in SITES:
        for name, content in everything_written(trained.out(site)).items():
            if name != "open/model.pt":
                for tensor in state.values():
                    raw = tensor.numpy().tobytes()
                    assert len(raw) < 16 or raw[:16] not in content
    assert trained.ran["open"].out.count("the model is in") == 1
    assert "released to south, and to nobody else" in trained.ran["open"].out
