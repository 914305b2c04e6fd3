"""The labels file of a site: which study has which label, and whose it is."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from protocols.radiology.errors import IntakeError, Unreadable
from protocols.radiology.site import Problem

FILES = ("file", "filename", "path")
KEYS = (*FILES, "study", "studyinstanceuid", "study_uid", "sopinstanceuid")
LABELS = ("label", "class", "target")
PATIENTS = ("patient", "patientid", "patient_id")


@dataclass(frozen=True, slots=True)
class Row:
    """One line: a label, or the reason why there is none."""

    line: int
    label: int | None
    patient: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Labels:
    """The rows by key, and whether a key is a file's name (else it may be a UID)."""

    name: str
    rows: dict[str, Row]
    by_file: bool
    problems: tuple[Problem, ...]

    def find(self, keys: Iterable[str]) -> tuple[str, Row] | None:
        """The key and the row of the first of `keys` that has one."""
        return next(((key, self.rows[key]) for key in keys if key in self.rows), None)

    def unused(self, used: Iterable[str]) -> list[Problem]:
        """A problem for every row that no file matched. A UID is not repeated."""
        left = [(key, row) for key, row in self.rows.items() if key not in set(used)]
        if self.by_file:
            return [
                Problem(key, f"is on line {row.line} of {self.name}, but is not among the files")
                for key, row in left
            ]
        return [
            Problem(self.name, f"line {row.line} names a study that is not among the files")
            for _, row in left
        ]


def label_of(row: Row) -> int:
    """The label, or `Unreadable` with the reason why there is none."""
    if row.label is None:
        raise Unreadable(row.reason)
    return row.label


def read_labels(path: str | Path, class_names: tuple[str, ...]) -> Labels:
    """Read a CSV file with a header: one column that names the study, one with its label.

    The study is named by `file` or by `StudyInstanceUID` (or `study`, which may be either). The
    label is a number from 0 or the name of a class. A column `patient` may say whose study it is.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = list(csv.reader(file))
    except FileNotFoundError:
        raise IntakeError(f"there is no labels file {path.name}") from None
    except OSError as error:
        raise IntakeError(f"{path.name} cannot be opened: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error):
        raise IntakeError(f"{path.name} is not a CSV file in UTF-8") from None
    header = [cell.strip().lower() for cell in lines[0]] if lines else []
    key, label = _column(header, KEYS), _column(header, LABELS)
    if key is None or label is None:
        raise IntakeError(f"{path.name} needs a first line such as: file,label")
    patient = _column(header, PATIENTS)

    rows: dict[str, Row] = {}
    problems: list[Problem] = []
    for number, cells in enumerate(lines[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        cells = [cell.strip() for cell in cells] + [""] * len(header)
        name = cells[key].replace("\\", "/").removeprefix("./")
        if not name:
            problems.append(Problem(path.name, f"line {number} names no study"))
            continue
        row = _row(number, cells[label], cells[patient] if patient is not None else "", class_names)
        if name in rows:
            before = rows[name]
            problems.append(
                Problem(path.name, f"line {number} repeats the study of line {before.line}")
            )
            if before.label != row.label:
                reason = f"has two labels, on lines {before.line} and {number}"
                rows[name] = Row(before.line, None, reason=reason)
            continue
        rows[name] = row
    return Labels(path.name, rows, header[key] in FILES, tuple(problems))


def _column(header: list[str], names: tuple[str, ...]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _row(line: int, text: str, patient: str, class_names: tuple[str, ...]) -> Row:
    if not text:
        return Row(line, None, reason=f"has no label on line {line} of the labels file")
    if text in class_names:
        return Row(line, class_names.index(text), patient)
    if text.isascii() and text.isdigit() and int(text[:9]) < len(class_names) and len(text) < 9:
        return Row(line, int(text), patient)
    reason = f"has a label that is not one of the {len(class_names)} classes, on line {line}"
    return Row(line, None, reason=reason)
