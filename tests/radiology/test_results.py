"""Predictions reach the studies' owner whole, and nobody else."""

import csv
import json
import stat

import numpy as np
import pytest

from mpc.errors import RangeError, ShapeMismatch
from protocols.radiology import Study, write_predictions

STUDIES = (Study("a, b.dcm", "1.2.3"), Study('"q".dcm', "1.2.4", 7))
TABLE = np.array([[0.25, 0.75], [0.9, 0.1]])


def test_json_and_csv_hold_the_same_predictions(tmp_path):
    as_json, as_csv = write_predictions(tmp_path / "new", STUDIES, TABLE, ("benign", "malignant"))
    assert json.loads(as_json.read_text()) == {
        "classes": ["benign", "malignant"],
        "studies": [
            {
                "file": "a, b.dcm",
                "StudyInstanceUID": "1.2.3",
                "frame": None,
                "predicted": "malignant",
                "probabilities": {"benign": 0.25, "malignant": 0.75},
            },
            {
                "file": '"q".dcm',
                "StudyInstanceUID": "1.2.4",
                "frame": 7,
                "predicted": "benign",
                "probabilities": {"benign": 0.9, "malignant": 0.1},
            },
        ],
    }
    with as_csv.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["file"] == "a, b.dcm"
    assert rows[1] == {
        "file": '"q".dcm',
        "StudyInstanceUID": "1.2.4",
        "frame": "7",
        "predicted": "benign",
        "probability of benign": "0.9",
        "probability of malignant": "0.1",
    }


def test_only_the_owner_may_read_and_no_draft_is_left(tmp_path):
    paths = write_predictions(tmp_path, STUDIES, TABLE, "ab")
    paths = write_predictions(tmp_path, STUDIES, TABLE[::-1], "ab")  # over the first ones
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    for path in paths:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(paths[0].read_text())["studies"][0]["predicted"] == "a"


def test_a_failed_write_leaves_the_file_before_it(tmp_path, monkeypatch):
    (path, _) = write_predictions(tmp_path, STUDIES, TABLE, "ab")
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_predictions(tmp_path, STUDIES, TABLE[::-1], "ab")
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_predictions_that_do_not_fit_are_refused_with_counts(tmp_path):
    with pytest.raises(ShapeMismatch, match=r"\(2, 2\) probabilities .* 1 studies"):
        write_predictions(tmp_path, STUDIES[:1], TABLE, "ab")
    with pytest.raises(RangeError, match="1 of 4 probabilities"):
        write_predictions(tmp_path, STUDIES, [[0.5, np.nan], [0.5, 0.5]], "ab")
    assert not list(tmp_path.iterdir())


def test_a_study_does_not_show_who_it_is_in_its_repr():
    assert repr(STUDIES) == "(Study(), Study())"
