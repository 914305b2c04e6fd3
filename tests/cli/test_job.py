"""A job file is refused in one line by what is wrong with it, and parsed to frozen values."""

import dataclasses
import os
import re
from pathlib import Path

import pytest

from mpc.errors import UsageError
from protocols.cli.job import (
    Evaluating,
    Job,
    ModelSettings,
    SiteSettings,
    code_digest,
    model_digest,
)
from protocols.cli.jobfile import read_job
from protocols.radiology.settings import Intake
from protocols.training.loop import Training
from tests.cli.jobs import ROOT, SITES, write_job

NAMED = [{"name": name} for name in SITES]


def refusal(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        read_job(path)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 400
    return text


def test_a_job_is_parsed_to_what_it_says(tmp_path):
    path = write_job(
        tmp_path / "job.toml",
        top={"width": 48, "deadline_s": 30, "seed": 7, "threads": 2, "public": ["evaluation"]},
        training={"optimizer": "adam", "rate": 1},
        model={"name": "resnet18", "small": True},
        evaluation={"test_fraction": 0.5},
    )
    job = read_job(path)
    assert job.name == "job" and job.output == tmp_path / "out"
    assert (job.width, job.deadline_s, job.seed, job.threads) == (48, 30, 7, 2)
    assert job.public == ("evaluation",)
    assert job.training == Training(epochs=1, batch=16, rate=1, optimizer="adam")
    assert job.model == ModelSettings("resnet18", {"small": True})
    assert job.evaluation.test_fraction == 0.5
    assert [site.name for site in job.sites] == list(SITES)
    assert job.intake.class_names == ("benign", "malignant")
    with pytest.raises(dataclasses.FrozenInstanceError):
        job.seed = 8


def test_what_a_job_leaves_out_has_the_defaults_of_the_settings(tmp_path):
    lines = [line for name in SITES for line in ("[[site]]", f'name = "{name}"')]
    (tmp_path / "least.toml").write_text("\n".join(lines))
    job = read_job(tmp_path / "least.toml")
    assert job.training == Training() and job.intake == Intake() and job.model == ModelSettings()
    assert job.output == tmp_path / "out" and job.protocol == "rep3" and job.width == 64
    assert job.public == ("loss", "accuracy", "evaluation")


def test_relative_paths_are_taken_from_the_job_files_own_folder(tmp_path, monkeypatch):
    sites = [{"name": "north", "data": "a/b", "labels": "/abs/l.csv", "key": "../k"}, *NAMED[1:]]
    path = write_job(tmp_path / "deep" / "job.toml", sites, top={"output": "results"})
    monkeypatch.chdir(tmp_path)
    job = read_job(Path("deep/job.toml"))
    base = tmp_path / "deep"
    assert job.sites[0].data == base / "a/b" and job.sites[0].labels == Path("/abs/l.csv")
    assert job.sites[0].key == base / "../k" and job.output == base / "results"
    assert job == read_job(path)
    assert job.folder(1) == base / "results" / "south"


@pytest.mark.parametrize(
    ("top", "tables", "words"),
    [
        ({"pubic": ["loss"]}, {}, "no setting 'pubic'"),
        ({}, {"training": {"lr": 0.1}}, "training has no setting 'lr'; it has epochs"),
        ({}, {"intake": {"colour_map": 1}}, "intake has no setting 'colour_map'"),
        ({}, {"evaluation": {"folds": 5}}, "evaluation has no setting 'folds'"),
        ({"name": 5}, {}, "name must be of type str"),
        ({"seed": "0"}, {}, "seed must be of type int"),
        ({"seed": True}, {}, "seed must be of type int"),
        ({"seed": -1}, {}, "seed of the job"),
        ({"seed": 2**63}, {}, "seed of the job"),
        ({"threads": "many"}, {}, "threads must be of type int"),
        ({"threads": 0}, {}, "threads of the job: must be at least 1"),
        ({"device": "gpu"}, {}, "device 'gpu' of the job: choose cpu or cuda"),
        ({"deadline_s": 0}, {}, "deadline_s of the job"),
        ({"output": 5}, {}, "output of the job must be a string"),
        ({"output": ""}, {}, "output of the job must be a string"),
        ({"width": 16}, {}, "width 16 of the job: choose 32 to 64"),
        ({"width": 65}, {}, "width 65 of the job: choose 32 to 64"),
        ({"width": 64.0}, {}, "width must be of type int"),
        ({"chunk": 960}, {}, "chunk 960 of the job: choose a multiple of 64 from 1024"),
        ({"chunk": 1025}, {}, "chunk 1025 of the job: choose a multiple of 64 from 1024"),
        ({"chunk": 1 << 33}, {}, "from 1024 to 4294967296"),
        ({"chunk": 0}, {}, "chunk 0 of the job: choose a multiple of 64 from 1024"),
        ({"chunk": "many"}, {}, "chunk must be of type int"),
        ({"protocol": "spdz"}, {}, "protocol 'spdz' of the job: choose rep3 or additive"),
        ({"protocol": "clear"}, {}, "choose rep3 or additive"),
        ({"protocol": "additive", "source": "insecure"}, {}, "choose dealer or file"),
        ({"protocol": "additive", "source": 3}, {}, "source must be of type str"),
        ({"source": "dealer"}, {}, "rep3 uses no correlated randomness: leave source out"),
        ({"public": "loss"}, {}, "public must be a list of strings"),
        ({"public": ["weights"]}, {}, "'weights' is none of loss, accuracy, evaluation"),
        ({"sites": []}, {}, "no setting 'sites' of this form"),
        ({}, {"training": {"seed": -1}}, "seed of training"),
        ({}, {"training": {"epochs": 0}}, "must be at least 1"),
        ({}, {"training": {"epochs": 1.5}}, "epochs must be of type int"),
        ({}, {"training": {"optimizer": "lbfgs"}}, "choose sgd or adam"),
        ({}, {"training": {"rate": 0}}, "learning rate"),
        ({}, {"training": {"rate": "fast"}}, "rate must be of type float"),
        ({}, {"training": {"momentum": 1}}, "momentum 1"),
        ({}, {"training": {"weight_decay": -0.1}}, "weight_decay -0.1"),
        ({}, {"evaluation": {"test_fraction": 1}}, "test_fraction must be more than 0"),
        ({}, {"intake": {"classes": "ab"}}, "classes must be a number, or a list of names"),
        ({}, {"intake": {"classes": 2.5}}, "classes must be a number, or a list of names"),
        ({}, {"intake": {"classes": [1, 2]}}, "classes must be a number, or a list of names"),
        ({}, {"intake": {"classes": ["a", "a"]}}, "two or more different names"),
        ({}, {"intake": {"size": "big"}}, "size is a whole number"),
        ({}, {"intake": {"tags": 5}}, "intake: a setting has the wrong type"),
        ({}, {"model": {"name": 5}}, "name of the model must be a string"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(tmp_path, top, tables, words):
    path = write_job(tmp_path / "job.toml", top=top, **tables)
    assert words in refusal(path)


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_a_number_that_is_not_finite_is_refused(tmp_path, number):
    path = tmp_path / "job.toml"
    text = write_job(path).read_text()
    for old, new in (
        ("epochs = 1", f"epochs = 1\nrate = {number}"),
        ("epochs = 1", f"epochs = 1\nmomentum = {number}"),
        ("[training]", f"[evaluation]\ntest_fraction = {number}\n[training]"),
        ('name = "radcnn"', f'name = "radcnn"\ndrop = {number}'),
        ("size = 16", f"size = 16\nnormalise = [0.5, {number}]"),
    ):
        assert text.count(old) == 1
        path.write_text(text.replace(old, new))
        assert refusal(path)


def test_a_date_is_no_setting(tmp_path):
    path = tmp_path / "job.toml"
    text = write_job(path).read_text()
    path.write_text(text.replace('name = "radcnn"', 'name = "radcnn"\nday = 2024-01-02'))
    assert "holds a value that no setting takes" in refusal(path)


@pytest.mark.parametrize("count", [0, 1, 2, 4, 5])
def test_another_number_of_sites_than_the_protocol_has_parties_is_refused(tmp_path, count):
    sites = [{"name": f"site{i}"} for i in range(count)]
    text = refusal(write_job(tmp_path / "job.toml", sites))
    assert "names no site: add a [[site]]" in text if not count else f"job names {count}" in text


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../x", "a/b", "/etc", ".git", "-rf", "a ", "<b>"),
        *("a\n", "a\x1b[31m", "a\u202eb", "x" * 61, "é" * 31),
    ],
)
def test_a_site_name_that_cannot_be_a_folder_is_refused_and_not_repeated(tmp_path, name):
    text = refusal(write_job(tmp_path / "job.toml", [{"name": name}, *NAMED[1:]]))
    assert text.startswith("a site's name becomes a folder's")


@pytest.mark.parametrize("name", ["north", "St. Anna", "Köln-2", "site_1", "北"])
def test_ordinary_names_are_taken(tmp_path, name):
    assert read_job(write_job(tmp_path / "job.toml", [{"name": name}, *NAMED[1:]])).sites[0].name


@pytest.mark.parametrize("twin", ["south", "South", "SOUTH"])
def test_two_sites_of_one_name_are_refused(tmp_path, twin):
    sites = [{"name": twin}, *NAMED[1:]]
    assert "two sites have the same name" in refusal(write_job(tmp_path / "job.toml", sites))


@pytest.mark.parametrize(
    ("site", "words"),
    [
        ({"data": "x"}, "a site lacks a setting: name"),
        ({"name": 5}, "a site: name must be of type str"),
        ({"name": "north", "images": "x"}, "a site has no setting 'images'; it has name, data"),
        ({"name": "north", "data": 5}, "data of a site must be a string"),
        ({"name": "north", "key": ""}, "key of a site must be a string"),
    ],
)
def test_a_sites_settings_are_checked_too(tmp_path, site, words):
    assert words in refusal(write_job(tmp_path / "job.toml", [site, *NAMED[1:]]))


@pytest.mark.parametrize(
    "content", [b"[[site]\n", b"a = ", b"\xff\xfe", b"a = 1\na = 2\n", b"a = " + b"[" * 5000]
)
def test_what_is_not_toml_is_refused(tmp_path, content):
    path = tmp_path / "job.toml"
    path.write_bytes(content)
    assert "job.toml is not TOML" in refusal(path)


@pytest.mark.parametrize(
    "content", [b"", b"site = 5\n", b"site = [1, 2, 3]\n", b'[site]\nname = "north"\n']
)
def test_a_file_without_sites_is_refused(tmp_path, content):
    path = tmp_path / "job.toml"
    path.write_bytes(content)
    assert "names no site: add a [[site]] for each party" in refusal(path)


@pytest.mark.parametrize("name", ["intake", "model", "training", "evaluation"])
def test_a_value_where_a_table_belongs_is_refused(tmp_path, name):
    path = write_job(tmp_path / "job.toml")
    text = path.read_text().replace(f"[{name}]", "[ignored]")
    path.write_text(f"{name} = 5\n{text}")
    assert f"{name} is a table: write [{name}]" in refusal(path)


def test_a_job_that_is_not_there_or_is_a_folder_is_refused(tmp_path):
    assert "No such file" in refusal(tmp_path / "missing.toml")
    assert "Is a directory" in refusal(tmp_path)


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_job_that_may_not_be_read_is_refused(tmp_path):
    path = write_job(tmp_path / "job.toml")
    path.chmod(0)
    assert "Permission denied" in refusal(path)


def test_the_digest_is_the_same_whatever_a_site_keeps_to_itself(tmp_path):
    one = read_job(write_job(tmp_path / "job.toml"))
    own = [{"name": "north", "data": "/elsewhere", "key": "/k"}, *NAMED[1:]]
    other = read_job(
        write_job(
            tmp_path / "other" / "job.toml",
            own,
            top={"output": "/x", "threads": 3, "device": "cuda"},
        )
    )
    assert one != other and one.digest() == other.digest() and len(one.digest()) == 32


@pytest.mark.parametrize(
    ("top", "tables"),
    [
        ({"seed": 1}, {}),
        ({"width": 48}, {}),
        ({"chunk": 1 << 25}, {}),
        ({"protocol": "additive"}, {}),
        ({"deadline_s": 7}, {}),
        ({"public": []}, {}),
        ({"name": "another"}, {}),
        ({}, {"training": {"epochs": 2}}),
        ({}, {"training": {"seed": 1}}),
        ({}, {"model": {"name": "resnet18"}}),
        ({}, {"model": {"dims": 2}}),
        ({}, {"intake": {"normalise": [0.4, 0.25]}}),
        ({}, {"intake": {"classes": ["malignant", "benign"]}}),
        ({}, {"evaluation": {"test_fraction": 0.3}}),
    ],
)
def test_the_digest_is_another_for_other_settings(tmp_path, top, tables):
    one = read_job(write_job(tmp_path / "job.toml"))
    other = read_job(write_job(tmp_path / "job.toml", top=top, **tables))
    assert one.digest() != other.digest()


def test_the_digest_is_another_for_other_sites_or_another_order(tmp_path):
    digests = {
        read_job(write_job(tmp_path / "job.toml", sites, top={"name": "n"})).digest()
        for sites in (NAMED, NAMED[::-1], [{"name": "east"}, *NAMED[1:]])
    }
    assert len(digests) == 3


def test_what_is_public_has_one_order(tmp_path):
    jobs = [
        read_job(write_job(tmp_path / "job.toml", top={"public": public}))
        for public in (["loss", "evaluation"], ["evaluation", "loss", "loss"])
    ]
    assert jobs[0].digest() == jobs[1].digest()


def test_the_codes_digest_is_over_every_source_of_the_three_packages(tmp_path, monkeypatch):
    for name in ("kernels/src/a.cpp", "mpc/b.py", "protocols/x/c.py", "tests/t.py", "mpc/n.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    monkeypatch.setattr("protocols.cli.job.ROOT", tmp_path)
    fresh = code_digest.__wrapped__
    seen = {fresh()}
    for name in ("kernels/src/a.cpp", "mpc/b.py", "protocols/x/c.py"):
        (tmp_path / name).write_text("2")
        seen.add(fresh())
    assert len(seen) == 4
    for name in ("tests/t.py", "mpc/n.txt"):
        (tmp_path / name).write_text("2")
        assert fresh() in seen
    (tmp_path / "mpc" / "b.py").rename(tmp_path / "mpc" / "c.py")
    assert fresh() not in seen


def test_the_models_digest_follows_the_file_behind_module_callable(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "a_model_of_this_test.py"
    path = write_job(tmp_path / "job.toml", model={"name": "a_model_of_this_test:make"})
    job = read_job(path)
    with pytest.raises(UsageError, match="no such module"):
        model_digest(job)
    module.write_text("def make(**k): ...")
    one = model_digest(job)
    module.write_text("def make(**k): return None")
    assert model_digest(job) != one
    assert "a_model_of_this_test" not in __import__("sys").modules
    named = [write_job(path, model={"name": n}) and read_job(path) for n in ("radcnn", "resnet18")]
    assert model_digest(named[0]) == model_digest(named[1])


@pytest.mark.parametrize(
    "kind",
    [Job, SiteSettings, ModelSettings, Evaluating, Training, Intake],
    ids=lambda kind: kind.__name__,
)
def test_the_page_about_jobs_names_every_setting(kind):
    page = (ROOT / "docs" / "jobs.md").read_text(encoding="utf-8")
    for field in dataclasses.fields(kind):
        if (kind, field.name) in ((Job, "sites"), (ModelSettings, "options")):
            continue  # [[site]] in the file, and whatever else stands in [model]
        assert f"`{field.name}`" in page or f"`[{field.name}]`" in page, field.name
        if kind in (Training, Evaluating, Intake) and not isinstance(field.default, tuple):
            shown = "none" if field.default is None else field.default
            line = next(row for row in page.splitlines() if row.startswith(f"| `{field.name}`"))
            assert f"`{shown}`" in line or f'`"{shown}"`' in line, line


@pytest.mark.parametrize("page", ["README.md", "docs/jobs.md"])
def test_the_examples_of_the_documents_are_jobs(page, tmp_path):
    text = (ROOT / page).read_text(encoding="utf-8")
    examples = re.findall(r"```toml\n(.*?)```", text, re.S)
    assert examples
    for example in examples:
        (tmp_path / "job.toml").write_text(example, encoding="utf-8")
        job = read_job(tmp_path / "job.toml")
        assert [site.name for site in job.sites] == list(SITES) and job.name == "nodules"
