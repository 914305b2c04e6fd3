"""A site's folder of DICOM files and its labels file become arrays, and a list of problems.

Only pixels, and the numeric elements that the settings name, go on. The patient's identity is read
to keep a patient's studies together, turned into a token at once, and forgotten.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from protocols.radiology.dicom import quiet, read_elements, render
from protocols.radiology.errors import IntakeError, Unreadable
from protocols.radiology.labels import Labels, label_of, read_labels
from protocols.radiology.prepare import prepare
from protocols.radiology.settings import Intake
from protocols.radiology.site import UNLABELLED, Problem, Site, Study
from protocols.radiology.tags import numbers

IDENTITY = ("PatientID", "StudyInstanceUID", "SOPInstanceUID")


@dataclass(slots=True)
class _Reading:
    """What has been read so far; becomes a `Site`."""

    settings: Intake
    labels: Labels | None
    salt: bytes
    images: list[NDArray[np.float32]] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)
    studies: list[Study] = field(default_factory=list)
    patients: list[str] = field(default_factory=list)
    tags: list[NDArray[np.float32]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    used: dict[str, str] = field(default_factory=dict)  # a labels row's key -> the file it serves
    seen: dict[str, str] = field(default_factory=dict)  # a UID -> the file it was first met in


def read_site(
    source: str | Path | Sequence[str | Path],
    labels: str | Path | None,
    settings: Intake,
    *,
    salt: bytes | None = None,
) -> Site:
    """Read every study of one site. One file is one study.

    Args:
        source: A folder, read with all folders in it, or a list of files.
        labels: The labels file (see `read_labels`); None for studies that are to be classified,
            whose label is then `UNLABELLED`.
        settings: How files become arrays.
        salt: Keys the patients' tokens; drawn anew for each call unless given.

    Files that cannot be used are in `problems` of the result, or with `on_error="fail"` in the
    message of the `IntakeError` raised. Raises it too when no study is left.
    """
    listed = read_labels(labels, settings.class_names) if labels is not None else None
    reading = _Reading(settings, listed, salt or secrets.token_bytes(32))
    if listed is not None:
        reading.problems.extend(listed.problems)
    for path, keys in _files(source, labels):
        name = keys[0]
        try:
            _read_file(reading, path, keys)
        except Unreadable as error:
            reading.problems.append(Problem(name, error.reason))
    if listed is not None:
        reading.problems.extend(listed.unused(reading.used))
    return _finish(reading)


def _files(
    source: str | Path | Sequence[str | Path], labels: str | Path | None
) -> Iterator[tuple[Path, list[str]]]:
    """Every file, with the names by which a labels file may call it; the first is for reports."""
    if isinstance(source, (str, Path)):
        folder = Path(source)
        if not folder.is_dir():
            raise IntakeError(f"there is no folder {folder.name}")
        paths: Iterable[Path] = sorted(path for path in folder.rglob("*") if path.is_file())
    else:
        folder, paths = None, [Path(path) for path in source]
    own = Path(labels).resolve() if labels is not None else None
    bases = [base.resolve() for base in (folder, own.parent if own else None) if base]
    for path in paths:
        full = path.resolve()
        hidden = folder is not None and any(
            p.startswith(".") for p in path.relative_to(folder).parts
        )
        if full == own or hidden or (folder is not None and path.name == "DICOMDIR"):
            continue
        within = [full.relative_to(base).as_posix() for base in bases if full.is_relative_to(base)]
        yield path, [*within, path.name, path.as_posix()]


def _read_file(reading: _Reading, path: Path, keys: list[str]) -> None:
    """Add the file's image or images, all or none."""
    settings, name = reading.settings, keys[0]
    row = _claim(reading, name, keys)
    ds = read_elements(path, [*IDENTITY, *settings.tags])
    with quiet():
        patient, study_uid, instance_uid = (_text(ds, keyword) for keyword in IDENTITY)
        tags = numbers(ds, settings.tags)
    label = UNLABELLED
    if reading.labels is not None:
        row = row or _claim(reading, name, [uid for uid in (study_uid, instance_uid) if uid])
        if row is None:
            raise Unreadable("has no line in the labels file")
        found = reading.labels.rows[row]
        label, patient = label_of(found), found.patient or patient
    for uid in filter(None, (instance_uid, study_uid)):
        if uid in reading.seen:
            raise Unreadable(f"is of the same study as {reading.seen[uid]}, which is kept")
    token = _token(reading, patient, name)

    image = render(ds, window=settings.window, frames=settings.frames, colour=settings.colour)
    each = settings.frames == "each"
    prepared = [prepare(frame, settings) for frame in (image if each else [image])]

    reading.seen.update(dict.fromkeys(filter(None, (instance_uid, study_uid)), name))
    for number, ready in enumerate(prepared):
        reading.images.append(ready)
        reading.classes.append(label)
        reading.studies.append(Study(name, study_uid, number if each else None))
        reading.patients.append(token)
        reading.tags.append(tags)


def _claim(reading: _Reading, name: str, keys: list[str]) -> str | None:
    """The key of the labels row for this file, which no other file may use."""
    found = reading.labels.find(keys) if reading.labels is not None else None
    if found is None:
        return None
    if reading.used.setdefault(found[0], name) != name:
        raise Unreadable(f"has the same line in the labels file as {reading.used[found[0]]}")
    return found[0]


def _text(ds: Dataset, keyword: str) -> str:
    try:
        return str(ds.get(keyword) or "").strip()
    except Exception:  # a malformed element is as good as none
        return ""


def _token(reading: _Reading, patient: str, name: str) -> str:
    """Stands for a patient in this run only."""
    if not patient:
        if reading.labels is not None and reading.settings.unknown_patients == "refuse":
            raise Unreadable(
                "has no PatientID; add a patient column to the labels file, "
                'or set unknown_patients to "separate"'
            )
        patient = f"\0{name}"  # a patient of its own
    return hmac.new(reading.salt, patient.encode(), hashlib.sha256).hexdigest()[:32]


def _finish(reading: _Reading) -> Site:
    problems, settings = tuple(reading.problems), reading.settings
    if problems and settings.on_error == "fail":
        raise IntakeError(_report(f"{len(problems)} problems with this site's files", problems))
    if not reading.images:
        raise IntakeError(_report("none of this site's studies can be used", problems))
    return Site(
        np.stack(reading.images),
        np.array(reading.classes, np.int64),
        tuple(reading.studies),
        tuple(reading.patients),
        np.stack(reading.tags),
        settings.tags,
        problems,
    )


def _report(headline: str, problems: Sequence[Problem], most: int = 10) -> str:
    lines = [f"{headline}:"] + [f"  {file}: {reason}" for file, reason in problems[:most]]
    if len(problems) > most:
        lines.append(f"  and {len(problems) - most} more")
    return "\n".join(lines) if problems else f"{headline}: there are none"
