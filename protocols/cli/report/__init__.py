"""A run as one HTML page: `report.html`, made from the run's own numbers and nothing else.

The page loads nothing: no script, no font, no picture from elsewhere, and its policy forbids it to.
Every text goes through `page.element`, which escapes what is not already markup, so a file name
cannot become a tag. A number that the run did not measure is not on the page; the section says so.

In reading order:

    page        markup, tables, numbers
    figures     drawings
    quality     how well the model does
    sections    what the run cost, opened, read and was told
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from mpc.files import write_whole
from protocols.cli.report.figures import CHART_ROWS, roc_curve
from protocols.cli.report.page import STYLE, Markup, Run, element
from protocols.cli.report.quality import comparison, evaluation_pair, learning
from protocols.cli.report.sections import (
    cards,
    layers,
    openings,
    protocol_used,
    settings_used,
    sites_read,
    subtitle,
)

__all__ = ["CHART_ROWS", "render", "roc_curve", "write_report"]

SECTIONS: Sequence[Callable[[Run], Markup]] = (
    learning,
    comparison,
    evaluation_pair,
    layers,
    openings,
    protocol_used,
    sites_read,
    settings_used,
)


def write_report(path: str | Path, run: Run) -> None:
    """Write one run as a page that stands alone, readable by its owner.

    `run` has any of these keys; what is missing or None is reported as not measured, but for
    `plaintext`, whose section is left out.

        title, digest   strings
        settings        any plain values, nested as they like
        versions        name -> version
        studies         what for -> how many
        sites           [{name, problems: [(file, reason)]}]
        epochs          [{epoch, loss, accuracy, seconds, rounds, bytes}]
        evaluation      {labels, scores} or {fpr, tpr}; {auc, auc_low, auc_high, confidence},
                        confusion (rows true), classes, accuracy
        plaintext       {accuracy, auc}
        opened          [{what, shape, to, reason}]; to: a name, a rank, several, None (everyone)
        layers          [{name, seconds, rounds, bytes}]
        protocol        {name, computing, corrupt, adversary, setup}
        source          {name, assumption, served: kind -> how many, corrections_bytes, skipped,
                        left}
        whole           {seconds, rounds, bytes} of the whole run, sharing and evaluation included
    """
    write_whole(path, render(run).encode("utf-8"))


def render(run: Run) -> str:
    """The page as a string."""
    title = run.get("title") or "radmpc run"
    page = element(
        "main",
        element(
            "header",
            element("h1", title),
            element("p", subtitle(run), class_="note"),
            cards(run),
        ),
        *(part(run) for part in SECTIONS),
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"{element('title', title)}\n<style>{STYLE}</style>\n</head>\n<body>\n{page}\n</body>\n"
        "</html>\n"
    )
