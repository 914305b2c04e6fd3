"""The page's drawings: learning curve, ROC, cost by layer, as SVG whose text stays text."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from xml.etree import ElementTree

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from protocols.cli.report.page import Markup, Run, element, finite, visible

# Matplotlib writes these colours into the drawing, and the page puts its own in their place.
INK, MUTED, LINE, ACCENT, SECOND = "#010101", "#020202", "#030303", "#040404", "#050505"
COLOURS = {INK: "ink", MUTED: "muted", LINE: "line", ACCENT: "accent", SECOND: "second"}
CHART_ROWS = 24  # a longer chart is a wall; the table below it has every layer


def _axes(figure: Figure, *position: int) -> Axes:
    axes = figure.add_subplot(*position)
    axes.grid(True, color=LINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, labelcolor=INK, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(LINE)
    return axes


def _svg(figure: Figure, name: str, description: str) -> Markup:
    """A figure as inline SVG: text stays text, colours are the page's, ids the figure's own."""
    drawn = io.BytesIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(drawn, format="svg", transparent=True, metadata=nothing)
    root = ElementTree.fromstring(drawn.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                parent.remove(child)
    for node in root.iter():
        node.tag = node.tag.rpartition("}")[2]
        for key, value in list(node.attrib.items()):
            del node.attrib[key]
            key = key.rpartition("}")[2]
            if key == "id":
                value = f"{name}-{value}"
            elif key == "href" and value.startswith("#"):
                value = f"#{name}-{value[1:]}"
            value = value.replace("url(#", f"url(#{name}-")
            if key in ("style", "fill", "stroke"):
                for colour, variable in COLOURS.items():
                    value = value.replace(colour, f"var(--{variable})")
                value = value.replace("10px 'sans-serif'", "10px sans-serif")
            node.set(key, value)
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.set("role", "img")
    root.set("aria-label", description)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def drawing(figure: Figure, name: str, description: str, caption: str = "") -> Markup:
    """A figure on the page, with what it shows for those who cannot see it."""
    below = [element("figcaption", caption)] if caption else []
    return element("figure", _svg(figure, name, description), *below)


def learning_figure(epochs: Sequence[Run]) -> Figure | None:
    """Loss and accuracy over epochs, each as far as it was measured."""

    def points(key: str) -> list[float]:
        numbers = (finite(row.get(key)) for row in epochs)
        return [math.nan if number is None else number for number in numbers]  # nan: a gap

    at = [finite(row.get("epoch")) or index + 1 for index, row in enumerate(epochs)]
    curves = [
        (label, colour, [scale * y for y in points(key)])
        for key, label, colour, scale in (
            ("loss", "loss", ACCENT, 1),
            ("accuracy", "accuracy, %", SECOND, 100),
        )
        if not np.isnan(points(key)).all()
    ]
    if not curves:
        return None
    figure = Figure(figsize=(8.6, 2.9), layout="constrained")
    for index, (label, colour, y) in enumerate(curves):
        axes = _axes(figure, 1, len(curves), index + 1)
        axes.plot(at, y, color=colour, linewidth=2, marker="o", markersize=4.5)
        axes.set_title(label, color=INK, fontsize=10, loc="left")
        axes.set_xlabel("epoch", color=MUTED)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.margins(x=0.04, y=0.12)
    return figure


def roc_curve(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates as the threshold falls; equal scores move together."""
    truth, score = np.asarray(labels), np.asarray(scores, np.float64)
    order = np.argsort(-score, kind="stable")
    truth, score = truth[order] == 1, score[order]
    last = np.append(score[1:] != score[:-1], True)  # of a run of equal scores
    hits, alarms = np.cumsum(truth)[last], np.cumsum(~truth)[last]
    return np.append(0, alarms / max(1, alarms[-1])), np.append(0, hits / max(1, hits[-1]))


def roc_points(evaluation: Run) -> tuple[np.ndarray, np.ndarray] | str:
    """The curve, given or from labels and scores, or the reason why there is none."""
    if evaluation.get("fpr") is not None and evaluation.get("tpr") is not None:
        fpr, tpr = (np.asarray(evaluation[key], np.float64) for key in ("fpr", "tpr"))
        if fpr.ndim == 1 and fpr.shape == tpr.shape and fpr.size and np.isfinite(fpr + tpr).all():
            return fpr, tpr
        return "The two rates given for the curve do not belong together."
    if evaluation.get("labels") is None or evaluation.get("scores") is None:
        return "Not measured in this run."
    labels, scores = np.asarray(evaluation["labels"]), np.asarray(evaluation["scores"], np.float64)
    if scores.ndim != 1 or labels.shape != scores.shape or not np.isfinite(scores).all():
        return "A curve needs one finite score for each label."
    if not (set(np.unique(labels)) == {0, 1}):
        return "A curve needs studies of both of two classes, labelled 0 and 1."
    return roc_curve(labels, scores)


def roc_figure(fpr: np.ndarray, tpr: np.ndarray) -> Figure:
    """The curve, and the diagonal that guessing gives."""
    figure = Figure(figsize=(4.3, 3.9), layout="constrained")
    axes = _axes(figure, 1, 1, 1)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
    axes.plot(fpr, tpr, color=ACCENT, linewidth=2)
    axes.fill_between(fpr, tpr, color=ACCENT, alpha=0.10, linewidth=0)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.02)
    axes.set_aspect("equal")
    axes.set_xlabel("false positive rate", color=MUTED)
    axes.set_ylabel("true positive rate", color=MUTED)
    return figure


def layer_figure(layers: Sequence[Run]) -> tuple[Figure, str] | None:
    """Seconds and bytes side by side, in the model's order; of many layers the costliest."""
    panels = [
        (key, label, colour, scale)
        for key, label, colour, scale in (
            ("seconds", "seconds", ACCENT, 1.0),
            ("bytes", "megabytes sent", SECOND, 1e-6),
        )
        if any(finite(layer.get(key)) is not None for layer in layers)
    ]
    if not panels:
        return None
    key = panels[0][0]
    costliest = sorted(range(len(layers)), key=lambda i: -(finite(layers[i].get(key)) or 0.0))
    kept = [layers[i] for i in sorted(costliest[:CHART_ROWS])]
    caption = (
        f"The {len(kept)} of {len(layers)} layers with the most {key}; the table has all of them."
        if len(kept) < len(layers)
        else ""
    )
    rows = np.arange(len(kept))
    figure = Figure(figsize=(8.6, 0.9 + 0.27 * len(kept)), layout="constrained")
    for index, (key, label, colour, scale) in enumerate(panels):
        axes = _axes(figure, 1, len(panels), index + 1)
        axes.grid(False, axis="y")
        widths = [scale * (finite(layer.get(key)) or 0.0) for layer in kept]
        axes.barh(rows, widths, color=colour, height=0.62)
        axes.set_ylim(len(kept) - 0.4, -0.6)
        axes.set_title(label, color=INK, fontsize=10, loc="left")
        names = [_tick(layer.get("name", "")) for layer in kept] if index == 0 else []
        axes.set_yticks(rows if index == 0 else [], names, parse_math=False)
    return figure, caption


def _tick(name: object) -> str:
    """A layer's name as the chart shows it: ASCII, since the chart's font has not every letter."""
    text = visible(name).encode("ascii", "backslashreplace").decode("ascii")
    return text if len(text) <= 32 else f"{text[:15]}...{text[-14:]}"
