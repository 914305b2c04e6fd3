"""A run as one HTML page: `report.html`, made from the run's own numbers and nothing else.

The page loads nothing: no script, no font, no picture from elsewhere, and its policy forbids it to.
Every text goes through `_element`, which escapes what is not already markup, so a file name cannot
become a tag. A number that the run did not measure is not on the page; the section says so.
"""

from __future__ import annotations

import html
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mpc.files import write_whole
from protocols.cli.manifest import plain

Run = Mapping[str, Any]

# Matplotlib writes these colours into the drawing, and the page puts its own in their place.
INK, MUTED, LINE, ACCENT, SECOND = "#010101", "#020202", "#030303", "#040404", "#050505"
COLOURS = {INK: "ink", MUTED: "muted", LINE: "line", ACCENT: "accent", SECOND: "second"}
CHART_ROWS = 24  # a longer chart is a wall; the table below it has every layer

STYLE = """
:root { color-scheme: light dark;
  --ink: #1c2430; --muted: #5d6878; --line: #d9dee6; --page: #f6f7f9; --card: #ffffff;
  --accent: #1f5fa8; --second: #b3541e; --tint: 31 95 168; }
@media (prefers-color-scheme: dark) { :root {
  --ink: #e6e9ee; --muted: #9aa5b4; --line: #333c49; --page: #12161c; --card: #1a2028;
  --accent: #74b0f4; --second: #f0a06a; --tint: 116 176 244; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .35rem; letter-spacing: -.015em;
  overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 0 0 .75rem; }
p { margin: 0 0 .75rem; max-width: 44rem; }
.note, .absent, figcaption { color: var(--muted); font-size: .9rem; }
.absent { font-style: italic; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 1.25rem 1.4rem 1.1rem; margin-top: 1.25rem; }
.cards { display: grid; gap: .8rem; margin-top: 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: .85rem 1rem .75rem; }
.card .name { color: var(--muted); font-size: .82rem; }
.card .value { font-size: 1.55rem; line-height: 1.25; font-weight: 600; letter-spacing: -.01em;
  font-variant-numeric: tabular-nums; }
.card .more { color: var(--muted); font-size: .82rem; }
.pair { display: grid; gap: 0 1.25rem;
  grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); }
figure { margin: 0 0 .75rem; }
svg { display: block; width: 100%; height: auto; }
svg * { stroke-linejoin: round; stroke-linecap: butt; }
.scroll { overflow-x: auto; margin-bottom: .75rem; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: left; padding: .38rem .9rem .38rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: anywhere; }
tr:last-child > * { border-bottom: 0; }
th { font-weight: 600; color: var(--muted); font-size: .82rem; }
tbody th { font-weight: 500; color: var(--ink); font-size: .92rem; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
code { font: .86em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace;
  overflow-wrap: anywhere; }
.matrix { width: auto; } .matrix th, .matrix td { padding: .55rem 1.1rem; text-align: center;
  border: 1px solid var(--line); }
.matrix td { font-variant-numeric: tabular-nums; font-size: 1.05rem; min-width: 5.5rem; }
.matrix td small { display: block; color: var(--muted); font-size: .76rem; }
@media print { body { background: none; } section, .card { break-inside: avoid; } }
"""


def write_report(path: str | Path, run: Run) -> None:
    """Write one run as a page that stands alone, readable by its owner.

    `run` has any of these keys; what is missing or None is reported as not measured.

        title, digest   strings
        settings        any plain values, nested as they like
        versions        name -> version
        sites           [{name, studies, problems: [(file, reason)]}]
        epochs          [{epoch, loss, accuracy, seconds, rounds, bytes}]
        evaluation      {labels, scores} or {fpr, tpr}; {auc, auc_low, auc_high, confidence},
                        confusion (rows true), classes, accuracy
        plaintext       {accuracy, auc}
        opened          [{what, shape, to, reason}]; to: a name, a rank, several, None (everyone)
        layers          [{name, seconds, rounds, bytes}]
    """
    write_whole(path, render(run).encode("utf-8"))


def render(run: Run) -> str:
    """The page as a string."""
    title = run.get("title") or "radmpc run"
    page = _element(
        "main",
        _element(
            "header",
            _element("h1", title),
            _element("p", _subtitle(run), class_="note"),
            _cards(run),
        ),
        *(part(run) for part in SECTIONS),
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"{_element('title', title)}\n<style>{STYLE}</style>\n</head>\n<body>\n{page}\n</body>\n"
        "</html>\n"
    )


# --- markup ---------------------------------------------------------------------------------------


class _Markup(str):
    """Text that is already HTML; whatever is not of this type is escaped."""

    __slots__ = ()


def _element(tag: str, *children: object, **attributes: str) -> _Markup:
    """One element around its children; `class_` is the attribute `class`."""
    names = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(_visible(value))}"'
        for name, value in attributes.items()
    )
    inner = "".join(
        child if isinstance(child, _Markup) else html.escape(_visible(child)) for child in children
    )
    return _Markup(f"<{tag}{names}>{inner}</{tag}>")


def _join(parts: Iterable[_Markup]) -> _Markup:
    return _Markup("".join(parts))


def _visible(value: object) -> str:
    """Text with what cannot be seen spelled out: control signs, text direction, broken UTF-8."""
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii")
        for sign in str(value)
    )


def _section(title: str, *children: _Markup) -> _Markup:
    return _element("section", _element("h2", title), *children)


def _absent(what: str = "Not measured in this run.") -> _Markup:
    return _element("p", what, class_="absent")


def _table(head: Sequence[str], rows: Iterable[Sequence[object]], numbers: int = 0) -> _Markup:
    """A table whose last `numbers` columns are numbers."""
    first = len(head) - numbers

    def cells(tag: str, row: Sequence[object]) -> _Markup:
        return _join(
            _element(tag, cell, class_="number") if column >= first else _element(tag, cell)
            for column, cell in enumerate(row)
        )

    body = _join(_element("tr", cells("td", row)) for row in rows)
    table = _element(
        "table", _element("thead", _element("tr", cells("th", head))), _element("tbody", body)
    )
    return _element("div", table, class_="scroll")


# --- numbers --------------------------------------------------------------------------------------


def _number(value: object) -> float | None:
    """A finite number, or None for what the run does not have."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def _shown(value: object, form: Callable[[float], str]) -> str:
    number = _number(value)
    return "–" if number is None else form(number)


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _decimals(digits: int) -> Callable[[float], str]:
    return lambda value: f"{value:.{digits}f}"


def _seconds(value: float) -> str:
    if value < 0.1:
        return f"{1000 * value:.2f} ms"
    if value < 120:
        return f"{value:.2f} s"
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def _bytes(value: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} TB"


def _total(rows: Sequence[Run], key: str) -> float | None:
    """The sum over all rows, or None when one of them lacks it: half a sum is not a number."""
    numbers = [_number(row.get(key)) for row in rows]
    known = [number for number in numbers if number is not None]
    return sum(known) if known and len(known) == len(numbers) else None


# --- drawings -------------------------------------------------------------------------------------


def _axes(figure: Figure, *position: int) -> Axes:
    axes = figure.add_subplot(*position)
    axes.grid(True, color=LINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, labelcolor=INK, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(LINE)
    return axes


def _svg(figure: Figure, name: str, description: str) -> _Markup:
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
    return _Markup(ElementTree.tostring(root, encoding="unicode"))


def _figure(figure: Figure, name: str, description: str, caption: str = "") -> _Markup:
    below = [_element("figcaption", caption)] if caption else []
    return _element("figure", _svg(figure, name, description), *below)


def _learning_figure(epochs: Sequence[Run]) -> Figure | None:
    """Loss and accuracy over epochs, each as far as it was measured."""

    def points(key: str) -> list[float]:
        numbers = (_number(row.get(key)) for row in epochs)
        return [math.nan if number is None else number for number in numbers]  # nan: a gap

    at = [_number(row.get("epoch")) or index + 1 for index, row in enumerate(epochs)]
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


def _roc_points(evaluation: Run) -> tuple[np.ndarray, np.ndarray] | str:
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


def _roc_figure(fpr: np.ndarray, tpr: np.ndarray) -> Figure:
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


def _layer_figure(layers: Sequence[Run]) -> tuple[Figure, str] | None:
    """Seconds and bytes side by side, in the model's order; of many layers the costliest."""
    panels = [
        (key, label, colour, scale)
        for key, label, colour, scale in (
            ("seconds", "seconds", ACCENT, 1.0),
            ("bytes", "megabytes sent", SECOND, 1e-6),
        )
        if any(_number(layer.get(key)) is not None for layer in layers)
    ]
    if not panels:
        return None
    key = panels[0][0]
    costliest = sorted(range(len(layers)), key=lambda i: -(_number(layers[i].get(key)) or 0.0))
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
        widths = [scale * (_number(layer.get(key)) or 0.0) for layer in kept]
        axes.barh(rows, widths, color=colour, height=0.62)
        axes.set_ylim(len(kept) - 0.4, -0.6)
        axes.set_title(label, color=INK, fontsize=10, loc="left")
        names = [_tick(layer.get("name", "")) for layer in kept] if index == 0 else []
        axes.set_yticks(rows if index == 0 else [], names, parse_math=False)
    return figure, caption


def _tick(name: object) -> str:
    """A layer's name as the chart shows it: ASCII, since the chart's font has not every letter."""
    text = _visible(name).encode("ascii", "backslashreplace").decode("ascii")
    return text if len(text) <= 32 else f"{text[:15]}...{text[-14:]}"


# --- sections -------------------------------------------------------------------------------------


def _subtitle(run: Run) -> str:
    versions, digest = run.get("versions") or {}, run.get("digest")
    parts = []
    if versions.get("radmpc"):
        parts.append(f"radmpc {versions['radmpc']}")
    if digest:
        parts.append(f"settings {str(digest)[:12]}")
    parts.append("made by the run from its own numbers")
    return " · ".join(parts)


def _cards(run: Run) -> _Markup:
    """The numbers to see first; only those that the run has."""
    cards: list[_Markup] = []

    def card(name: str, value: str, more: str = "") -> None:
        parts = [("name", name), ("value", value)] + ([("more", more)] if more else [])
        cards.append(
            _element(
                "div", *(_element("div", text, class_=kind) for kind, text in parts), class_="card"
            )
        )

    evaluation, in_clear = run.get("evaluation") or {}, run.get("plaintext") or {}
    epochs, opened, sites = run.get("epochs") or [], run.get("opened"), run.get("sites") or []

    for key, name, form in (
        ("accuracy", "Accuracy, secure", _percent),
        ("auc", "AUC, secure", _decimals(3)),
    ):
        if _number(evaluation.get(key)) is not None:
            reference = _number(in_clear.get(key))
            more = "" if reference is None else f"{form(reference)} in plaintext"
            card(name, _shown(evaluation[key], form), more)
    for key, name, form in (
        ("seconds", "Training time", _seconds),
        ("rounds", "Rounds", _count),
        ("bytes", "Bytes sent", _bytes),
    ):
        total = _total(epochs, key)
        if total is not None:
            card(name, form(total), f"{len(epochs)} epoch{'s' * (len(epochs) != 1)}")
    studies = _total(sites, "studies")
    if studies is not None:
        card("Studies", _count(studies), f"from {len(sites)} site{'s' * (len(sites) != 1)}")
    if opened is not None:
        card("Opened", _count(len(opened)), "each with its reason")
    return _element("div", *cards, class_="cards") if cards else _absent()


def _learning(run: Run) -> _Markup:
    epochs = run.get("epochs") or []
    if not epochs:
        return _section("Learning curve", _absent())
    figure = _learning_figure(epochs)
    curve = (
        _figure(figure, "learning", "Loss and accuracy by epoch")
        if figure is not None
        else _absent("Neither loss nor accuracy was opened in this run.")
    )
    rows = [
        (
            _shown(row.get("epoch", index + 1), _count),
            _shown(row.get("loss"), _decimals(4)),
            _shown(row.get("accuracy"), _percent),
            _shown(row.get("seconds"), _seconds),
            _shown(row.get("rounds"), _count),
            _shown(row.get("bytes"), _bytes),
        )
        for index, row in enumerate(epochs)
    ]
    head = ("Epoch", "Loss", "Accuracy", "Time", "Rounds", "Bytes sent")
    return _section("Learning curve", curve, _table(head, rows, numbers=5))


def _evaluation(run: Run) -> _Markup:
    return _element("div", _roc(run), _confusion(run), class_="pair")


def _roc(run: Run) -> _Markup:
    evaluation = run.get("evaluation") or {}
    parts = []
    auc, low, high = (_number(evaluation.get(key)) for key in ("auc", "auc_low", "auc_high"))
    if auc is None:
        parts.append(_absent("AUC: not measured in this run."))
    else:
        level = _number(evaluation.get("confidence"))
        kind = "confidence interval" if level is None else f"{100 * level:g} % confidence interval"
        between = "" if low is None or high is None else f" ({kind} {low:.3f} to {high:.3f})"
        parts.append(_element("p", _element("strong", f"AUC {auc:.3f}"), between))
    points = _roc_points(evaluation)
    if isinstance(points, str):
        parts.append(_absent(points))
    else:
        parts.append(_figure(_roc_figure(*points), "roc", "Receiver operating characteristic"))
    return _section("ROC", *parts)


def _confusion(run: Run) -> _Markup:
    evaluation = run.get("evaluation") or {}
    title = "Confusion matrix"
    if evaluation.get("confusion") is None:
        return _section(title, _absent())
    matrix = [[_number(cell) for cell in row] for row in evaluation["confusion"]]
    columns = max((len(row) for row in matrix), default=0)
    names = [str(name) for name in evaluation.get("classes") or range(max(columns, len(matrix)))]
    most = max((cell or 0 for row in matrix for cell in row), default=0) or 1
    head = _element("tr", _element("th", "true \\ said"), *(_element("th", n) for n in names))
    body = []
    for name, row in zip(names, matrix, strict=False):
        total = sum(cell or 0 for cell in row)
        cells = [
            _element(
                "td",
                _shown(cell, _count),
                _element("small", _percent((cell or 0) / total) if total else "–"),
                style=f"background: rgb(var(--tint) / {0.45 * (cell or 0) / most:.2f})",
            )
            for cell in row
        ]
        body.append(_element("tr", _element("th", name), *cells))
    parts = [_element("table", head, *body, class_="matrix")]
    note = "Rows are the true classes, columns what the model said; shares are of the row."
    accuracy = _number(evaluation.get("accuracy"))
    if accuracy is not None:
        note = f"Accuracy {_percent(accuracy)}. {note}"
    return _section(
        title, _element("div", *parts, class_="scroll"), _element("p", note, class_="note")
    )


def _comparison(run: Run) -> _Markup:
    title = "Secure against plaintext"
    secure, in_clear = run.get("evaluation") or {}, run.get("plaintext")
    if not in_clear:
        return _section(title, _absent())
    rows = []
    for key, name, form, scale, digits, unit in (
        ("accuracy", "Accuracy", _percent, 100, 1, " points"),
        ("auc", "AUC", _decimals(3), 1, 3, ""),
    ):
        ours, theirs = _number(secure.get(key)), _number(in_clear.get(key))
        difference = "–"
        if ours is not None and theirs is not None:
            difference = f"{scale * (ours - theirs):+.{digits}f}{unit}"
        rows.append((name, _shown(ours, form), _shown(theirs, form), difference))
    head = ("", "Secure", "Plaintext", "Difference")
    return _section(title, _table(head, rows, numbers=3))


def _layers(run: Run) -> _Markup:
    title, layers = "Time and bytes per layer", run.get("layers") or []
    if not layers:
        return _section(title, _absent())
    drawn = _layer_figure(layers)
    chart = [] if drawn is None else [_figure(drawn[0], "layers", title, drawn[1])]
    rows = [
        (
            layer.get("name", "–"),
            _shown(layer.get("seconds"), _seconds),
            _shown(layer.get("rounds"), _count),
            _shown(layer.get("bytes"), _bytes),
        )
        for layer in layers
    ]
    return _section(
        title, *chart, _table(("Layer", "Time", "Rounds", "Bytes sent"), rows, numbers=3)
    )


def _opened(run: Run) -> _Markup:
    title, opened = "What was opened, to whom and why", run.get("opened")
    if opened is None:
        return _section(title, _absent())
    if not opened:
        return _section(title, _element("p", "Nothing was opened in this run."))
    rows = [
        (
            row.get("what", "–"),
            _size(row.get("shape")),
            _recipients(row),
            row.get("reason", "–"),
        )
        for row in opened
    ]
    return _section(title, _table(("What", "Shape", "To", "Reason"), rows))


def _size(shape: object) -> str:
    if isinstance(shape, Sequence) and not isinstance(shape, str):
        return " × ".join(map(str, shape)) or "one number"
    return "–" if shape is None else str(shape)


def _recipients(row: Run) -> str:
    """Who learned a value; None stands for every party, as in a protocol's own list of openings."""
    if "to" not in row:
        return "–"
    if row["to"] is None:
        return "everyone"
    to = row["to"]
    listed = to if isinstance(to, Sequence) and not isinstance(to, str) else [to]
    return ", ".join(f"rank {who}" if isinstance(who, int) else str(who) for who in listed)


def _sites(run: Run) -> _Markup:
    title, sites = "Sites and skipped files", run.get("sites")
    if not sites:
        return _section(title, _absent())
    rows = [
        (site.get("name", "–"), _shown(site.get("studies"), _count), _count(len(_problems(site))))
        for site in sites
    ]
    parts = [_table(("Site", "Studies", "Skipped files"), rows, numbers=2)]
    skipped = [
        (site.get("name", "–"), _element("code", file), reason)
        for site in sites
        for file, reason in _problems(site)
    ]
    if skipped:
        parts.append(_table(("Site", "File", "Reason"), skipped))
    return _section(title, *parts)


def _problems(site: Run) -> Sequence[tuple[object, object]]:
    return site.get("problems") or []


def _settings(run: Run) -> _Markup:
    settings, versions, digest = run.get("settings"), run.get("versions"), run.get("digest")
    parts = []
    if digest:
        parts.append(_element("p", "Digest of the settings: ", _element("code", digest)))
    for head, values, absence in (
        ("Setting", settings, "Settings: not given."),
        ("Version of", versions, "Versions: not given."),
    ):
        if values:
            rows = [(key, _element("code", value)) for key, value in _flat(values)]
            parts.append(_table((head, "Value"), rows))
        else:
            parts.append(_absent(absence))
    return _section("Settings and versions", *parts)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Nested settings as dotted names, in the order given."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _setting(plain(value))


def _setting(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_setting, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None or value == {} else str(value)


SECTIONS: Sequence[Callable[[Run], _Markup]] = (
    _learning,
    _comparison,
    _evaluation,
    _layers,
    _opened,
    _sites,
    _settings,
)
