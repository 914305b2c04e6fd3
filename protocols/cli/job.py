"""A job file: who takes part, what is read, how it is trained, where results go. Parsed once into frozen values.

What concerns all parties must be the same at all of them, and its digest is compared before anything is shared. What
concerns one site alone (its paths, its key) may differ from copy to copy of the file.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from mpc.errors import UsageError
from protocols.cli.manifest import digest
from protocols.nn.session import PROTOCOLS
from protocols.radiology.settings import Intake
from protocols.training.loop import Training

ROOT = Path(__file__).resolve().parents[2]
T = TypeVar("T")


@dataclass(frozen=True)
class SiteSettings:
    """One hospital, which is one computing party; its rank is its place in the file.

    Args:
        name: what the others call it.
        data: a folder of DICOM files, or a MedMNIST-style .npz; sites that name the same .npz get equal parts of it.
        labels: the labels file of a folder.
        new: a folder of studies to classify, for `radmpc infer`.
        key: this site's key file; made beside its results if not given.
    """

    name: str
    data: Path | None = None
    labels: Path | None = None
    new: Path | None = None
    key: Path | None = None


@dataclass(frozen=True)
class ModelSettings:
    """Which model: `radcnn`, `resnet18` or `module:callable`, and what it is built with."""

    name: str = "radcnn"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluating:
    """What is set aside for testing. test_fraction: share of patients, for folders of DICOM files."""

    test_fraction: float = 0.25


@dataclass(frozen=True)
class Job:
    """Everything a job file says.

    Args:
        name: title of reports.
        sites: by rank.
        output: folder for results; each site writes into a folder of its own name there.
        protocol: "rep3".
        width: bits of a comparison.
        deadline_s: how long a party waits for another.
        threads: kernel threads of a rank; by default the machine's cores over its ranks.
        seed: of the initial weights and of the split, both public.
        intake: how files become arrays.
        model: which model.
        training: how it is trained.
        evaluation: on what it is tested.
    """

    name: str
    sites: tuple[SiteSettings, ...]
    output: Path
    protocol: str = "rep3"
    width: int = 64
    deadline_s: float = 120.0
    threads: int | None = None
    seed: int = 0
    intake: Intake = field(default_factory=Intake)
    model: ModelSettings = field(default_factory=ModelSettings)
    training: Training = field(default_factory=Training)
    evaluation: Evaluating = field(default_factory=Evaluating)

    def common(self) -> dict[str, Any]:
        """What must be the same at all parties."""
        values = asdict(self)
        for mine in ("sites", "output", "threads"):
            del values[mine]
        return values | {"sites": [site.name for site in self.sites]}

    def digest(self) -> bytes:
        """SHA-256 of the common settings, 32 bytes."""
        return bytes.fromhex(digest(self.common()))

    def folder(self, rank: int) -> Path:
        """Where a site's results go."""
        return self.output / self.sites[rank].name


@cache
def code_digest() -> bytes:
    """SHA-256 over the sources of the three packages, 32 bytes: parties that run other code stop."""
    total = hashlib.sha256()
    for package in ("kernels", "mpc", "protocols"):
        for path in sorted((ROOT / package).rglob("*")):
            if path.suffix in (".py", ".h", ".cpp", ".cu") and path.is_file():
                total.update(
                    path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0"
                )
    return total.digest()


def read_job(path: Path) -> Job:
    """Parse a job file. Paths in it are taken from the file's own folder.

    Raises:
        UsageError: one line that says what is wrong and what there is.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the job {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from None
    base = path.resolve().parent
    sites = table.pop("site", [])
    if not isinstance(sites, list) or not sites or not all(isinstance(s, dict) for s in sites):
        raise UsageError(f"{path} names no site: add a [[site]] for each party")
    parts = {
        "intake": Intake.of(_table(table, "intake")),
        "model": _model(_table(table, "model")),
        "training": _build(Training, _table(table, "training"), "training"),
        "evaluation": _build(Evaluating, _table(table, "evaluation"), "evaluation"),
    }
    made = tuple(_build(SiteSettings, _paths(s, base), "site") for s in sites)
    _check_names(made)
    table["output"] = base / str(table.get("output", "out"))
    table.setdefault("name", path.stem)
    job: Job = _build(Job, {**table, "sites": made, **parts}, "the job")
    if job.protocol not in PROTOCOLS or job.protocol == "clear":
        raise UsageError(f"protocol {job.protocol!r} of the job: choose rep3")
    if len(job.sites) != 3:
        raise UsageError(f"{job.protocol} needs 3 sites, and the job names {len(job.sites)}")
    return job


def _table(table: dict[str, Any], name: str) -> dict[str, Any]:
    part = table.pop(name, {})
    if not isinstance(part, dict):
        raise UsageError(f"{name} is a table: write [{name}]")
    return part


def _build(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    """A settings class from a table, refusing what it has no name for and what has the wrong type."""
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]  # a dataclass
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise UsageError(f"{where} has no setting {unknown[0]!r}; it has {', '.join(known)}")
    for name, value in table.items():
        wanted = {"int": int, "float": (int, float), "str": str}.get(str(known[name].type))
        if wanted and (not isinstance(value, wanted) or isinstance(value, bool)):
            raise UsageError(f"{where}: {name} must be of type {known[name].type}")
    try:
        return kind(**table)
    except TypeError:
        missing = [n for n in known if n not in table]
        raise UsageError(f"{where} lacks a setting: {', '.join(missing)}") from None


def _model(table: dict[str, Any]) -> ModelSettings:
    name = table.pop("name", "radcnn")
    return ModelSettings(str(name), dict(sorted(table.items())))


def _paths(site: Mapping[str, Any], base: Path) -> dict[str, Any]:
    return {k: v if k == "name" else base / str(v) for k, v in site.items()}


def _check_names(sites: tuple[SiteSettings, ...]) -> None:
    names = [site.name for site in sites]
    for name in names:
        if not name or name != Path(name).name or name in (".", "..") or not name.isprintable():
            raise UsageError("a site's name becomes a folder's: choose letters, digits and dashes")
    if len(set(names)) != len(names):
        raise UsageError("two sites have the same name: give each its own")
