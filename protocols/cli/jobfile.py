"""A job file, read: every mistake in it is one line, before anything is started."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

from mpc.errors import UsageError
from protocols.cli.job import Evaluating, Job, ModelSettings, SiteSettings
from protocols.radiology.settings import Intake
from protocols.training.loop import Training

T = TypeVar("T")


def read_job(path: Path) -> Job:
    """Parse a job file. Paths in it are taken from the file's own folder.

    Raises:
        UsageError: one line that says what is wrong and what there is.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the job {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not TOML: it is not UTF-8 text") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from None
    base = path.resolve().parent
    sites = table.pop("site", [])
    if not isinstance(sites, list) or not sites or not all(isinstance(s, dict) for s in sites):
        raise UsageError(f"{path} names no site: add a [[site]] for each party")
    parts = {
        "intake": _intake(_table(table, "intake")),
        "model": _model(_table(table, "model")),
        "training": _build(Training, _table(table, "training"), "training"),
        "evaluation": _build(Evaluating, _table(table, "evaluation"), "evaluation"),
    }
    made = tuple(_build(SiteSettings, _paths(s, base), "a site") for s in sites)
    check_names([site.name for site in made])
    for name in ("sites", *parts):
        if name in table:
            raise UsageError(f"the job has no setting {name!r} of this form: write a table")
    table["output"] = base / _text(table.get("output", "out"), "output of the job")
    table.setdefault("name", path.stem)
    job: Job = _build(Job, {**table, "sites": made, **parts}, "the job")
    try:
        job.digest()
    except (TypeError, ValueError):  # a date, or a number that is not finite
        raise UsageError(
            f"{path} holds a value that no setting takes: a date, nan or inf"
        ) from None
    return job


def check_names(names: Sequence[str]) -> None:
    """Refuse names of sites that cannot be folders beside each other.

    Raises:
        UsageError: what is wrong with them, without repeating one.
    """
    for name in names:
        if not re.fullmatch(r"\w[\w .-]*(?<! )", name) or len(name.encode()) > 60:
            raise UsageError(
                "a site's name becomes a folder's: choose letters, digits and dashes, at most 60"
            )
    if len({name.casefold() for name in names}) != len(names):
        raise UsageError("two sites have the same name: give each its own")


def _table(table: dict[str, Any], name: str) -> dict[str, Any]:
    part = table.pop(name, {})
    if not isinstance(part, dict):
        raise UsageError(f"{name} is a table: write [{name}]")
    return part


# What TOML has to give for a field, by its annotation. True and false are not numbers.
_KINDS: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "int | None": (int,),
    "float": (int, float),
    "str": (str,),
    "str | None": (str,),
}


def _build(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    """A settings class from a table; refuses what it has no name for and what has a wrong type."""
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]  # a dataclass
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise UsageError(f"{where} has no setting {unknown[0]!r}; it has {', '.join(known)}")
    values = dict(table)
    for name, value in table.items():
        type_name = str(known[name].type)
        wanted = _KINDS.get(type_name)
        if wanted and (not isinstance(value, wanted) or isinstance(value, bool)):
            raise UsageError(f"{where}: {name} must be of type {type_name.partition(' ')[0]}")
        if type_name.startswith("tuple[str, ...]"):
            if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
                raise UsageError(f"{where}: {name} must be a list of strings")
            values[name] = tuple(value)
    needed = [f.name for f in known.values() if f.default is f.default_factory is MISSING]
    missing = [name for name in needed if name not in values]
    if missing:
        raise UsageError(f"{where} lacks a setting: {', '.join(missing)}")
    return kind(**values)


def _intake(table: dict[str, Any]) -> Intake:
    classes = table.get("classes", 2)
    if not (isinstance(classes, list) and all(isinstance(c, str) and c for c in classes)):
        if not isinstance(classes, int):
            raise UsageError("intake: classes must be a number, or a list of names")
    try:
        return Intake.of(table)
    except TypeError:
        raise UsageError("intake: a setting has the wrong type") from None


def _model(table: dict[str, Any]) -> ModelSettings:
    name = _text(table.pop("name", "radcnn"), "name of the model")
    return ModelSettings(name, dict(sorted(table.items())))


def _paths(site: Mapping[str, Any], base: Path) -> dict[str, Any]:
    known = {f.name for f in fields(SiteSettings)} - {"name", "release_to"}
    return {k: base / _text(v, f"{k} of a site") if k in known else v for k, v in site.items()}


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise UsageError(f"{what} must be a string")
    return value
