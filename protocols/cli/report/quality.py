"""How well the model does: learning curve, ROC, confusion matrix, and against plaintext."""

from __future__ import annotations

from protocols.cli.report.figures import drawing, learning_figure, roc_figure, roc_points
from protocols.cli.report.page import (
    Markup,
    Run,
    absent,
    as_bytes,
    as_count,
    as_decimals,
    as_percent,
    as_seconds,
    element,
    finite,
    section,
    shown,
    table_of,
)


def learning(run: Run) -> Markup:
    """Loss and accuracy by epoch, and what each epoch cost."""
    epochs = run.get("epochs") or []
    if not epochs:
        return section("Learning curve", absent())
    figure = learning_figure(epochs)
    curve = (
        drawing(figure, "learning", "Loss and accuracy by epoch")
        if figure is not None
        else absent("Neither loss nor accuracy was opened in this run.")
    )
    rows = [
        (
            shown(row.get("epoch", index + 1), as_count),
            shown(row.get("loss"), as_decimals(4)),
            shown(row.get("accuracy"), as_percent),
            shown(row.get("seconds"), as_seconds),
            shown(row.get("rounds"), as_count),
            shown(row.get("bytes"), as_bytes),
        )
        for index, row in enumerate(epochs)
    ]
    head = ("Epoch", "Loss", "Accuracy", "Time", "Rounds", "Bytes sent")
    return section("Learning curve", curve, table_of(head, rows, numbers=5))


def evaluation_pair(run: Run) -> Markup:
    """ROC and confusion matrix side by side."""
    return element("div", _roc(run), _confusion(run), class_="pair")


def _roc(run: Run) -> Markup:
    evaluation = run.get("evaluation") or {}
    parts = []
    auc, low, high = (finite(evaluation.get(key)) for key in ("auc", "auc_low", "auc_high"))
    if auc is None:
        parts.append(absent("AUC: not measured in this run."))
    else:
        level = finite(evaluation.get("confidence"))
        kind = "confidence interval" if level is None else f"{100 * level:g} % confidence interval"
        between = "" if low is None or high is None else f" ({kind} {low:.3f} to {high:.3f})"
        parts.append(element("p", element("strong", f"AUC {auc:.3f}"), between))
    points = roc_points(evaluation)
    if isinstance(points, str):
        parts.append(absent(points))
    else:
        parts.append(drawing(roc_figure(*points), "roc", "Receiver operating characteristic"))
    return section("ROC", *parts)


def _confusion(run: Run) -> Markup:
    evaluation = run.get("evaluation") or {}
    title = "Confusion matrix"
    if evaluation.get("confusion") is None:
        return section(title, absent())
    matrix = [[finite(cell) for cell in row] for row in evaluation["confusion"]]
    columns = max((len(row) for row in matrix), default=0)
    names = [str(name) for name in evaluation.get("classes") or range(max(columns, len(matrix)))]
    most = max((cell or 0 for row in matrix for cell in row), default=0) or 1
    head = element("tr", element("th", "true \\ said"), *(element("th", n) for n in names))
    body = []
    for name, row in zip(names, matrix, strict=False):
        total = sum(cell or 0 for cell in row)
        cells = [
            element(
                "td",
                shown(cell, as_count),
                element("small", as_percent((cell or 0) / total) if total else "–"),
                style=f"background: rgb(var(--tint) / {0.45 * (cell or 0) / most:.2f})",
            )
            for cell in row
        ]
        body.append(element("tr", element("th", name), *cells))
    parts = [element("table", head, *body, class_="matrix")]
    note = "Rows are the true classes, columns what the model said; shares are of the row."
    accuracy = finite(evaluation.get("accuracy"))
    if accuracy is not None:
        note = f"Accuracy {as_percent(accuracy)}. {note}"
    return section(
        title, element("div", *parts, class_="scroll"), element("p", note, class_="note")
    )


def comparison(run: Run) -> Markup:
    """The secure run beside the same run in the clear; nothing if there is none to compare with."""
    secure, in_clear = run.get("evaluation") or {}, run.get("plaintext")
    if not in_clear:
        return Markup()
    rows = []
    for key, name, form, scale, digits, unit in (
        ("accuracy", "Accuracy", as_percent, 100, 1, " points"),
        ("auc", "AUC", as_decimals(3), 1, 3, ""),
    ):
        ours, theirs = finite(secure.get(key)), finite(in_clear.get(key))
        difference = "–"
        if ours is not None and theirs is not None:
            difference = f"{scale * (ours - theirs):+.{digits}f}{unit}"
        rows.append((name, shown(ours, form), shown(theirs, form), difference))
    head = ("", "Secure", "Plaintext", "Difference")
    return section("Secure against plaintext", table_of(head, rows, numbers=3))
