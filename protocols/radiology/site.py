"""What one site holds after intake: arrays for sharing, and references that never leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mpc.errors import RangeError, ShapeMismatch

UNLABELLED = -1  # the label of a study that is to be classified, not learnt from


class Problem(NamedTuple):
    """A file that was not taken, and why, for the site's own eyes."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class Study:
    """Which study a row is, so that its owner can find it again. Its repr tells nothing."""

    file: str = field(repr=False)
    study_uid: str = field(default="", repr=False)
    frame: int | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Site:
    """The studies of one site, row by row.

    Only `images`, `labels` and `tags` are meant to be shared (secretly). `studies` is the identity
    map and `problems` names files: both stay at the site. `patients` holds a token for each
    row's patient, keyed by a salt drawn anew in every run, and serves only to keep a patient's
    studies together.
    """

    images: NDArray[np.float32]  # (n, channels, *size)
    labels: NDArray[np.int64]  # (n,)
    studies: tuple[Study, ...]
    patients: tuple[str, ...]
    tags: NDArray[np.float32]  # (n, len(tag_names))
    tag_names: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    def __post_init__(self) -> None:
        """Every part has a row for each study."""
        rows = {len(p) for p in (self.images, self.labels, self.studies, self.patients, self.tags)}
        if len(rows) != 1 or self.tags.shape[1:] != (len(self.tag_names),):
            raise ShapeMismatch("a site needs as many images as labels, studies, patients and tags")

    def __len__(self) -> int:
        """The number of studies."""
        return len(self.labels)

    def __repr__(self) -> str:
        """Counts only, so that a site may be logged."""
        shape = "x".join(map(str, self.images.shape[1:]))
        return f"Site({len(self)} studies of {shape}, {len(self.problems)} problems)"

    def one_hot(self, classes: int) -> NDArray[np.float32]:
        """The labels as rows with a single 1, [n, classes].

        Raises:
            RangeError: a label is none of the classes, as that of a study without one is.
        """
        outside = int(np.sum((self.labels < 0) | (self.labels >= classes)))
        if outside:
            raise RangeError(f"{outside} of {len(self)} labels are outside the {classes} classes")
        return np.eye(classes, dtype=np.float32)[self.labels]

    def take(self, rows: Sequence[int] | NDArray[np.intp]) -> Site:
        """The site with these rows only, in this order; its problems stay with the whole."""
        chosen: NDArray[Any] = np.asarray(rows, np.intp)
        return Site(
            self.images[chosen],
            self.labels[chosen],
            tuple(self.studies[i] for i in chosen),
            tuple(self.patients[i] for i in chosen),
            self.tags[chosen],
            self.tag_names,
        )
