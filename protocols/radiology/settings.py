"""What a job says about intake, checked once and frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from mpc.errors import UsageError
from protocols.radiology.grayscale import Window
from protocols.radiology.tags import check_keywords

CHOICES = {
    "window": ("voi", "min-max"),
    "frames": ("refuse", "each", "volume"),
    "colour": ("refuse", "luminance"),
    "resize": ("stretch", "pad", "exact"),
    "on_error": ("skip", "fail"),
    "unknown_patients": ("refuse", "separate"),
}


@dataclass(frozen=True, slots=True)
class Intake:
    """How files become arrays. All sites of a job use the same, so nothing here may be secret.

    Args:
        size: Pixels a side of the model's input, or one number an axis (rows first; depth before
            rows for volumes).
        dims: 2 for images, 3 for volumes (multi-frame files, with `frames="volume"`).
        channels: How often the grey image is repeated, for models that expect colour.
        classes: How many classes, or their names; the labels file may use either.
        window: "voi" (the file's own, else its full range), "min-max", or (centre, width).
        frames: A multi-frame file is refused, or taken as a "volume", or "each" frame is an
            image of its own, or the frame with this number (from 0) is taken.
        colour: A colour image is refused, or taken as "luminance".
        resize: "stretch" to the size; "pad" with dark to the right proportions first; or "exact":
            refuse what has another size.
        normalise: (mean, deviation) subtracted from and dividing the brightness; None leaves it in
            [0, 1]. Constants, not the cohort's own statistics, which would tell of it.
        tags: Keywords of numeric elements to keep as numbers beside the image.
        on_error: "skip" a file that cannot be used, and list it; or "fail".
        unknown_patients: A file whose patient is not known is refused, or taken as a patient of
            its own ("separate"): then a patient may end up on both sides of a split.
    """

    size: int | tuple[int, ...] = 28
    dims: int = 2
    channels: int = 1
    classes: int | tuple[str, ...] = 2
    window: Window = "voi"
    frames: str | int = "refuse"
    colour: str = "refuse"
    resize: str = "stretch"
    normalise: tuple[float, float] | None = (0.5, 0.25)
    tags: tuple[str, ...] = ()
    on_error: str = "skip"
    unknown_patients: str = "refuse"

    def __post_init__(self) -> None:
        """Lists (as TOML gives them) become tuples; what makes no sense is refused."""
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, list):
                object.__setattr__(self, each.name, tuple(value))
        if self.dims not in (2, 3):
            raise UsageError("dims is 2 (images) or 3 (volumes)")
        if isinstance(self.size, int):
            object.__setattr__(self, "size", (self.size,) * self.dims)
        if len(self.spatial) != self.dims or not all(_whole(n, 1) for n in self.spatial):
            raise UsageError(f"size is a whole number from 1 up, or {self.dims} of them")
        if not _whole(self.channels, 1):
            raise UsageError("channels is a whole number from 1 up")
        self._check_classes()
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            free = (name == "window" and _window(value)) or (name == "frames" and _whole(value, 0))
            if not free and value not in choices:
                extra = {"window": ", or (centre, width > 0)", "frames": ", or a frame's number"}
                raise UsageError(f"{name} is one of {', '.join(choices)}{extra.get(name, '')}")
        if (self.frames == "volume") != (self.dims == 3):
            raise UsageError('dims = 3 and frames = "volume" go together')
        if self.normalise is not None and not _window(self.normalise):
            raise UsageError("normalise is (mean, deviation > 0), or nothing")
        check_keywords(self.tags)

    def _check_classes(self) -> None:
        if _whole(self.classes, 2):
            return
        if isinstance(self.classes, tuple) and all(isinstance(c, str) for c in self.classes):
            if len(self.classes) > 1 and len(set(self.classes)) == len(self.classes):
                return
        raise UsageError("classes is a number from 2 up, or two or more different names")

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> Intake:
        """From a table of a job file; a name that is not a setting is refused."""
        names = [each.name for each in fields(cls)]
        unknown = sorted(set(table) - set(names))
        if unknown:
            raise UsageError(f"intake has no setting {unknown[0]!r}; it has {', '.join(names)}")
        return cls(**table)

    @property
    def spatial(self) -> tuple[int, ...]:
        """The size, one number an axis."""
        return self.size if isinstance(self.size, tuple) else (self.size,) * self.dims

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input of the model: (channels, *size)."""
        return (self.channels, *self.spatial)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, which are numbers where none were given."""
        if isinstance(self.classes, int):
            return tuple(map(str, range(self.classes)))
        return self.classes


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _window(value: Any) -> bool:
    """Whether it is a pair of finite numbers, the second above 0."""
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and all(isinstance(n, (int, float)) and abs(n) < float("inf") for n in value)
        and value[1] > 0
    )
