import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve as reference_roc_curve

from protocols.cli.report import CHART_ROWS, render, roc_curve, write_report

HOSTILE = "<script>alert('x')</script>&\"\u202egnp.\x1b[31m\ud800 $\\frac{"
VOID = {"meta"}
COMPARISON = "Secure against plaintext"  # only where there is something to compare with
SECTION_TITLES = [
    "Learning curve",
    "ROC",
    "Confusion matrix",
    "Time and bytes per layer",
    "What was opened, to whom and why",
    "Protocol and who is trusted",
    "Sites and skipped files",
    "Settings and versions",
]
ALL_SECTIONS = [SECTION_TITLES[0], COMPARISON, *SECTION_TITLES[1:]]


class Page(HTMLParser):
    """A page taken apart: its text, its tags, and its attributes; fails on a tag left open."""

    def __init__(self, source):
        super().__init__()
        self.text, self.tags, self.attributes, self.sections = [], set(), [], {}
        self.open, self.cells = [], []
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes += attributes
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if "style" in self.open:
            return
        self.text.append(text)
        if "h2" in self.open:
            self.sections[text] = []
        elif "section" in self.open and self.sections:
            self.sections[next(reversed(self.sections))].append(text)
        if self.open and self.open[-1] in ("td", "th", "code"):
            self.cells.append(text)

    def section(self, title):
        return " ".join(self.sections[title])


def a_run():
    return {
        "title": "Nodules",
        "settings": {"protocol": "rep3", "training": {"epochs": 2, "resume": False}, "sites": []},
        "digest": "ab12" * 16,
        "versions": {"radmpc": "0.1.0", "torch": "2.13.0"},
        "studies": {"train": 148, "test": 49},
        "sites": [
            {"name": "north", "problems": [("scan.dcm", "no pixel data")]},
            {"name": "south", "problems": []},
        ],
        "epochs": [
            {
                "epoch": 1,
                "loss": 0.6543,
                "accuracy": 0.71,
                "seconds": 61.5,
                "rounds": 4321,
                "bytes": 2_500_000,
            },
            {
                "epoch": 2,
                "loss": None,
                "accuracy": 0.83,
                "seconds": 60.0,
                "rounds": 4321,
                "bytes": 2_500_000,
            },
        ],
        "evaluation": {
            "labels": [0, 0, 1, 1, 1],
            "scores": [0.1, 0.6, 0.6, 0.7, 0.9],
            "auc": 0.9167,
            "auc_low": 0.8123,
            "auc_high": 0.9876,
            "confusion": [[17, 3], [2, 28]],
            "accuracy": 0.9,
        },
        "plaintext": {"accuracy": 0.912, "auc": 0.9201},
        "opened": [
            {"what": "loss", "shape": (), "to": None, "reason": "learning curve"},
            {"what": "mask", "shape": [8], "to": [0, 2], "reason": "truncation"},
            {"what": "weights", "shape": [9], "to": 1, "reason": "release"},
            {"what": "predictions", "shape": (24, 2), "to": "north", "reason": "its own studies"},
        ],
        "layers": [
            {"name": "conv1", "seconds": 1.25, "rounds": 2, "bytes": 3_000_000},
            {"name": "relu1", "seconds": 0.05, "rounds": 10, "bytes": 41_000},
        ],
    }


def shown_sections(run):
    return list(Page(render(run)).sections)


def everywhere(value, text):
    """The same run with each string in it replaced."""
    if isinstance(value, dict):
        return {key: everywhere(inner, text) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(everywhere(inner, text) for inner in value)
    return text if isinstance(value, str) else value


def test_the_numbers_on_the_page_are_those_of_the_run():
    page = Page(render(a_run()))
    curve = page.section("Learning curve")
    assert "1 0.6543 71.0 % 61.50 s 4,321 2.5 MB" in curve
    assert "2 – 83.0 % 60.00 s 4,321 2.5 MB" in curve
    assert "AUC 0.917  (confidence interval 0.812 to 0.988)" in page.section("ROC")
    compared = page.section(COMPARISON)
    assert "90.0 % 91.2 % -1.2 points" in compared and "0.917 0.920 -0.003" in compared
    assert "17 85.0 % 3 15.0 %" in page.section("Confusion matrix")
    assert "relu1 50.00 ms 10 41.0 kB" in page.section("Time and bytes per layer")
    opened = page.section("What was opened, to whom and why")
    assert "loss one number everyone learning curve" in opened
    assert "mask 8 rank 0, rank 2 truncation" in opened
    assert "weights 9 rank 1 release" in opened
    assert "predictions 24 × 2 north its own studies" in opened
    sites = page.section("Sites and skipped files")
    assert "north 1" in sites and "south 0" in sites
    assert "north scan.dcm no pixel data" in sites
    chosen = page.section("Settings and versions")
    assert "training.epochs 2" in chosen and "training.resume no" in chosen
    assert "torch 2.13.0" in chosen and "ab12" * 16 in chosen


def test_the_cards_add_up_what_the_run_counted():
    text = " ".join(Page(render(a_run())).text)
    assert "Training time 2 min 2 s 2 epochs" in text
    assert "Rounds 8,642" in text
    assert "Bytes sent 5.0 MB" in text
    assert "Studies 197 148 train, 49 test" in text
    assert "Accuracy, secure 90.0 % 91.2 % in plaintext" in text


def test_a_total_with_a_part_missing_is_not_shown():
    run = a_run()
    del run["epochs"][1]["bytes"]
    text = " ".join(Page(render(run)).text)
    assert "Bytes sent 2.5 MB" not in text and "Rounds 8,642" in text


@pytest.mark.parametrize("run", [{}, dict.fromkeys(a_run()), {"evaluation": {}, "epochs": []}])
def test_an_empty_run_says_so_in_every_section_and_shows_no_number(run):
    page = Page(render(run))
    assert list(page.sections) == SECTION_TITLES
    for title in SECTION_TITLES[:-1]:
        assert "not measured in this run" in page.section(title).lower()
    assert "Settings: not given." in page.section(SECTION_TITLES[-1])
    assert "Versions: not given." in page.section(SECTION_TITLES[-1])
    assert not re.search(r"\d", " ".join(page.text)) and "svg" not in page.tags


@pytest.mark.parametrize("key", list(a_run()))
def test_any_part_of_a_run_may_be_missing(key):
    run = a_run()
    del run[key]
    assert shown_sections(run) == (SECTION_TITLES if key == "plaintext" else ALL_SECTIONS)


def test_that_nothing_was_opened_is_not_the_same_as_not_knowing():
    assert "Nothing was opened" in Page(render({"opened": []})).section(SECTION_TITLES[4])


@pytest.mark.parametrize("bad", [None, float("nan"), float("inf"), "12", True])
def test_what_is_not_a_finite_number_is_a_dash(bad):
    run = a_run()
    run["epochs"] = [dict.fromkeys(run["epochs"][0], bad)]
    run["layers"] = [{"name": "fc", "seconds": bad, "bytes": bad}]
    page = Page(render(run))
    assert page.section("Learning curve").count("–") >= 5
    assert "Neither loss nor accuracy was opened" in page.section("Learning curve")


def test_hostile_names_stay_text():
    source = render(everywhere(a_run(), HOSTILE))
    page = Page(source)
    assert "script" not in page.tags and "<script" not in source
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    shown = "<script>alert('x')</script>&\"\\u202egnp.\\x1b[31m\\ud800 $\\frac{"
    assert page.cells.count(shown) >= 8
    assert not re.search("[\x00-\x09\x0b-\x1f\u202a-\u202e\ud800-\udfff]", source)


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=40))
def test_any_name_leaves_the_page_whole(name):
    run = everywhere(a_run(), name)
    run["settings"] = {name: {name: name}}
    assert shown_sections(run) == ALL_SECTIONS


def test_the_page_loads_nothing():
    source = render(a_run())
    page = Page(source)
    assert "://" not in source and "@import" not in source
    assert not page.tags & {"script", "link", "img", "iframe", "object", "embed", "image", "base"}
    for name, value in page.attributes:
        if name in ("href", "src", "xlink:href", "action", "data"):
            assert value.startswith("#")
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", source))
    policy = dict(page.attributes)["http-equiv"], "default-src 'none'" in source
    assert policy == ("Content-Security-Policy", True)


def test_every_drawing_finds_what_it_refers_to_and_ids_are_unique():
    source = render(a_run())
    names = re.findall(r' id="([^"]*)"', source)
    assert len(names) == len(set(names)) > 0
    used = re.findall(r'href="#([^"]*)"', source) + re.findall(r"url\(#([^)]*)\)", source)
    assert used and set(used) <= set(names)
    assert Page(source).tags >= {"svg", "figure", "path"} and source.count("<svg") == 3


def test_a_long_model_has_a_short_chart_and_a_whole_table():
    layers = [
        {"name": f"layer{i}", "seconds": float(i), "rounds": i, "bytes": i} for i in range(90)
    ]
    text = Page(render({"layers": layers})).section("Time and bytes per layer")
    assert f"The {CHART_ROWS} of 90 layers with the most seconds" in text
    assert all(f"layer{i} " in text for i in range(90))


def test_a_run_without_scores_shows_the_curve_it_gives():
    page = Page(render({"evaluation": {"fpr": [0, 0.5, 1], "tpr": [0, 0.9, 1]}}))
    assert "svg" in page.tags and "AUC: not measured" in page.section("ROC")


@pytest.mark.parametrize(
    ("labels", "scores", "words"),
    [
        ([1, 1], [0.2, 0.3], "both of two classes"),
        ([0, 1, 2], [0.2, 0.3, 0.4], "both of two classes"),
        ([0, 1], [[0.2, 0.8], [0.3, 0.7]], "one finite score"),
        ([0, 1], [0.2, float("nan")], "one finite score"),
    ],
)
def test_a_curve_that_cannot_be_drawn_has_a_reason(labels, scores, words):
    page = Page(render({"evaluation": {"labels": labels, "scores": scores}}))
    assert words in page.section("ROC") and "svg" not in page.tags


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6)), min_size=2, max_size=60))
def test_the_curve_is_that_of_scikit_learn(pairs):
    labels, scores = map(list, zip(*pairs, strict=True))
    if len(set(labels)) == 2:
        fpr, tpr = roc_curve(labels, scores)
        expected = reference_roc_curve(labels, scores, drop_intermediate=False)[:2]
        assert np.array_equal(fpr, expected[0]) and np.array_equal(tpr, expected[1])


def test_the_same_run_makes_the_same_page(tmp_path):
    write_report(tmp_path / "one.html", a_run())
    write_report(tmp_path / "two.html", a_run())
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()
    assert (tmp_path / "one.html").stat().st_mode & 0o777 == 0o600
