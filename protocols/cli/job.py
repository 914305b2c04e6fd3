"""A job: who takes part, what is read, how it is trained, where results go.

A job file (`jobfile`) becomes these frozen values once. What concerns all parties must be the same
at all of them, and its digest is compared before anything is shared. What concerns one site alone
(its paths, its key) may differ from copy to copy of the file.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from mpc.errors import UsageError
from mpc.ring import BITS
from protocols.base import CHUNK, CHUNK_ON_CARDS
from protocols.cli.manifest import digest
from protocols.radiology.models import MODELS
from protocols.radiology.settings import Intake
from protocols.training.loop import Training

ROOT = Path(__file__).resolve().parents[2]
PUBLIC = ("loss", "accuracy", "evaluation")
SITES = {"rep3": range(3, 4), "additive": range(2, 5)}  # how many, by protocol
SOURCES = ("dealer", "file")
DEVICES = ("cpu", "cuda")
LEAST_CHUNK, MOST_CHUNK = 1 << 10, 1 << 32
LEAST_WIDTH = 32  # fewer bits do not hold the logits and gradients of a training
MOST_SEED = 2**63 - 1


@dataclass(frozen=True)
class SiteSettings:
    """One hospital, which is one computing party; its rank is its place in the file.

    Args:
        name: what the others call it.
        data: a folder of DICOM files, or a MedMNIST-style .npz; sites that name the same .npz get
            equal parts of it.
        labels: the labels file of a folder.
        new: a folder of studies to classify, for `radmpc infer`.
        key: this site's key file; made beside its results if not given.
        items: this site's file of correlated randomness, for a job with source = "file"; beside
            its results, under the command's name, if not given.
        items_key: the key that belongs to that file; beside it if not given.
        release_to: the sites that this one lets the model be released to; any, if not given. Each
            site is asked by its own copy of the job file.
    """

    name: str
    data: Path | None = None
    labels: Path | None = None
    new: Path | None = None
    key: Path | None = None
    items: Path | None = None
    items_key: Path | None = None
    release_to: tuple[str, ...] | None = None


@dataclass(frozen=True)
class ModelSettings:
    """Which model: `radcnn`, `resnet18` or `module:callable`, and what it is built with."""

    name: str = "radcnn"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluating:
    """What is set aside for testing.

    Args:
        test_fraction: share of patients, for folders of DICOM files.
    """

    test_fraction: float = 0.25

    def __post_init__(self) -> None:
        """Refuse what leaves nothing to train or to test on."""
        if not 0 < self.test_fraction < 1:
            raise UsageError("evaluation: test_fraction must be more than 0 and less than 1")


@dataclass(frozen=True)
class Job:
    """Everything a job file says.

    Args:
        name: title of reports.
        sites: by rank.
        output: folder for results; each site writes into a folder of its own name there.
        protocol: "rep3", among three sites, or "additive", among two to four.
        source: where additive has its correlated randomness from: "dealer", which is one more rank
            and what it has unless told otherwise, or "file", made ahead for each site. None with
            rep3, which needs none.
        width: bits of a comparison.
        chunk: elements compared at once; if not said, see `chunk_if`.
        deadline_s: how long a party waits for another.
        threads: kernel threads of a rank; by default the machine's cores over its ranks.
        device: where this site keeps its shares and computes: "cpu" or "cuda".
        seed: of the initial weights and of the split, both public.
        public: what every party may learn: mean loss and test accuracy after each epoch, and the
            evaluation (confusion matrix, ROC curve) at the end.
        intake: how files become arrays.
        model: which model.
        training: how it is trained.
        evaluation: on what it is tested.
    """

    name: str
    sites: tuple[SiteSettings, ...]
    output: Path
    protocol: str = "rep3"
    source: str | None = None
    width: int = BITS
    chunk: int | None = None
    deadline_s: float = 120.0
    threads: int | None = None
    device: str = "cpu"
    seed: int = 0
    public: tuple[str, ...] = PUBLIC
    intake: Intake = field(default_factory=Intake)
    model: ModelSettings = field(default_factory=ModelSettings)
    training: Training = field(default_factory=Training)
    evaluation: Evaluating = field(default_factory=Evaluating)

    def __post_init__(self) -> None:
        """Refuse what no job can mean."""
        if self.protocol not in SITES:
            raise UsageError(f"protocol {self.protocol!r} of the job: choose {' or '.join(SITES)}")
        _check_sites(self.protocol, len(self.sites))
        if self.protocol == "additive":
            object.__setattr__(self, "source", self.source or SOURCES[0])
            if self.source not in SOURCES:
                raise UsageError(
                    f"source {self.source!r} of the job: choose {' or '.join(SOURCES)}"
                )
        elif self.source is not None:
            raise UsageError(f"{self.protocol} uses no correlated randomness: leave source out")
        if not LEAST_WIDTH <= self.width <= BITS:
            raise UsageError(f"width {self.width} of the job: choose {LEAST_WIDTH} to {BITS}")
        chunk = LEAST_CHUNK if self.chunk is None else self.chunk
        if chunk % 64 or not LEAST_CHUNK <= chunk <= MOST_CHUNK:
            raise UsageError(
                f"chunk {self.chunk} of the job: choose a multiple of 64 from {LEAST_CHUNK} to "
                f"{MOST_CHUNK}"
            )
        if not 0 < self.deadline_s < math.inf:
            raise UsageError("deadline_s of the job: must be above 0")
        if self.threads is not None and self.threads < 1:
            raise UsageError("threads of the job: must be at least 1, or left out")
        if self.device not in DEVICES:
            raise UsageError(f"device {self.device!r} of the job: choose {' or '.join(DEVICES)}")
        for where, seed in (("the job", self.seed), ("training", self.training.seed)):
            if not 0 <= seed <= MOST_SEED:
                raise UsageError(f"seed of {where}: must be from 0 to {MOST_SEED}")
        unknown = sorted(set(self.public) - set(PUBLIC))
        if unknown:
            raise UsageError(f"public of the job: {unknown[0]!r} is none of {', '.join(PUBLIC)}")
        object.__setattr__(self, "public", tuple(w for w in PUBLIC if w in self.public))

    def common(self) -> dict[str, Any]:
        """What must be the same at all parties."""
        values = asdict(self)
        for mine in ("sites", "output", "threads", "device"):
            del values[mine]
        return values | {"sites": [site.name for site in self.sites]}

    def digest(self) -> bytes:
        """SHA-256 of the common settings, 32 bytes."""
        return bytes.fromhex(digest(self.common()))

    def folder(self, rank: int) -> Path:
        """Where a site's results go."""
        return self.output / self.sites[rank].name

    def source_of(self, command: str) -> str | None:
        """Where a command has its correlated randomness from; None if it needs none."""
        return None if command == "open" else self.source

    @property
    def chunk_is_open(self) -> bool:
        """Whether how many elements are compared at once depends on where the parties compute.

        Items made ahead were counted for the usual number, wherever that was.
        """
        return self.chunk is None and self.source != "file"

    def chunk_if(self, on_cards: bool) -> int:
        """Elements compared at once where all parties keep their shares on cards, or not all."""
        if self.chunk is not None:
            return self.chunk
        return CHUNK_ON_CARDS if on_cards and self.chunk_is_open else CHUNK

    @property
    def planned_chunk(self) -> int:
        """The same where nobody can be asked: as if all sites computed where this job file says."""
        return self.chunk_if(self.device == "cuda")

    def ranks(self, command: str) -> int:
        """How many ranks a command has: one a site, and the dealer's."""
        return len(self.sites) + (self.source_of(command) == "dealer")

    def items_label(self, command: str) -> str:
        """What a file of items is for: a command, and the settings that say what it asks for."""
        values = self.common()
        for unheard in ("name", "deadline_s"):
            del values[unheard]
        return f"{command} {digest(values)}"

    def items(self, rank: int, command: str) -> tuple[Path, Path]:
        """A site's file of correlated randomness for a command, and the file's key."""
        site = self.sites[rank]
        path = site.items or self.folder(rank) / f"{command}.items"
        return path, site.items_key or path.with_name(f"{path.name}.key")


def _check_sites(protocol: str, count: int) -> None:
    if count in SITES[protocol]:
        return
    needed = f"{SITES[protocol][0]}" + (
        f" to {SITES[protocol][-1]}" if len(SITES[protocol]) > 1 else ""
    )
    others = [name for name, counts in SITES.items() if count in counts]
    instead = f'; protocol = "{others[0]}" takes as many' if others else ""
    raise UsageError(f"{protocol} needs {needed} sites, and the job names {count}{instead}")


@cache
def code_digest() -> bytes:
    """SHA-256 over the sources of the three packages, 32 bytes: who runs other code is stopped."""
    total = hashlib.sha256()
    for package in ("kernels", "mpc", "protocols"):
        for path in sorted((ROOT / package).rglob("*")):
            if path.suffix in (".py", ".h", ".cpp", ".cu") and path.is_file():
                name = path.relative_to(ROOT).as_posix()
                total.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return total.digest()


def model_digest(job: Job) -> bytes:
    """SHA-256 of the file behind `module:callable`, 32 bytes; other models are radmpc's code."""
    source = b""
    if job.model.name not in MODELS:
        try:
            found = importlib.util.find_spec(job.model.name.partition(":")[0])
        except (ImportError, AttributeError, ValueError):
            found = None
        if found is None or found.origin is None or not Path(found.origin).is_file():
            raise UsageError(f"model {job.model.name}: no such module is on the Python path")
        source = Path(found.origin).read_bytes()
    return hashlib.sha256(source).digest()
