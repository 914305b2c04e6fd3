"""The numbers to see first, and what the run cost, opened, read and was told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from protocols.cli.manifest import plain
from protocols.cli.report.figures import drawing, layer_figure
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
    sum_of,
    table_of,
)


def subtitle(run: Run) -> str:
    """Version, settings and where the numbers come from."""
    versions, digest = run.get("versions") or {}, run.get("digest")
    parts = []
    if versions.get("radmpc"):
        parts.append(f"radmpc {versions['radmpc']}")
    if digest:
        parts.append(f"settings {str(digest)[:12]}")
    parts.append("made by the run from its own numbers")
    return " · ".join(parts)


def cards(run: Run) -> Markup:
    """The numbers to see first; only those that the run has."""
    made: list[Markup] = []

    def card(name: str, value: str, more: str = "") -> None:
        parts = [("name", name), ("value", value)] + ([("more", more)] if more else [])
        made.append(
            element(
                "div", *(element("div", text, class_=kind) for kind, text in parts), class_="card"
            )
        )

    evaluation, in_clear = run.get("evaluation") or {}, run.get("plaintext") or {}
    epochs, opened = run.get("epochs") or [], run.get("opened")

    for key, name, form in (
        ("accuracy", "Accuracy, secure", as_percent),
        ("auc", "AUC, secure", as_decimals(3)),
    ):
        if finite(evaluation.get(key)) is not None:
            reference = finite(in_clear.get(key))
            more = "" if reference is None else f"{form(reference)} in plaintext"
            card(name, shown(evaluation[key], form), more)
    whole = run.get("whole") or {}
    for key, name, form in (
        ("seconds", "Training time", as_seconds),
        ("rounds", "Rounds", as_count),
        ("bytes", "Bytes sent", as_bytes),
    ):
        total, all_of_it = sum_of(epochs, key), finite(whole.get(key))
        more = "" if all_of_it is None else f"{form(all_of_it)} in the whole run"
        if total is not None:
            part = f"{len(epochs)} epoch{'s' * (len(epochs) != 1)}"
            card(name, form(total), f"{part}; {more}" if more else part)
        elif all_of_it is not None:
            card("Time" if key == "seconds" else name, form(all_of_it), "in the whole run")
    studies = {name: finite(count) for name, count in (run.get("studies") or {}).items()}
    known = [count for count in studies.values() if count is not None]
    if known and len(known) == len(studies):
        parts = [f"{as_count(count)} {name}" for name, count in zip(studies, known, strict=True)]
        card("Studies", as_count(sum(known)), ", ".join(parts))
    if opened is not None:
        card("Opened", as_count(len(opened)), "each with its reason")
    return element("div", *made, class_="cards") if made else absent()


def layers(run: Run) -> Markup:
    """Time and bytes of each layer."""
    title, layers = "Time and bytes per layer", run.get("layers") or []
    if not layers:
        return section(title, absent())
    drawn = layer_figure(layers)
    chart = [] if drawn is None else [drawing(drawn[0], "layers", title, drawn[1])]
    rows = [
        (
            layer.get("name", "–"),
            shown(layer.get("seconds"), as_seconds),
            shown(layer.get("rounds"), as_count),
            shown(layer.get("bytes"), as_bytes),
        )
        for layer in layers
    ]
    return section(
        title, *chart, table_of(("Layer", "Time", "Rounds", "Bytes sent"), rows, numbers=3)
    )


def openings(run: Run) -> Markup:
    """Everything that was revealed."""
    title, opened = "What was opened, to whom and why", run.get("opened")
    if opened is None:
        return section(title, absent())
    if not opened:
        return section(title, element("p", "Nothing was opened in this run."))
    rows = [
        (
            row.get("what", "–"),
            _size(row.get("shape")),
            _recipients(row),
            row.get("reason", "–"),
        )
        for row in opened
    ]
    return section(title, table_of(("What", "Shape", "To", "Reason"), rows))


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


def protocol_used(run: Run) -> Markup:
    """Among whom it was computed, who is trusted, and what correlated randomness was used up."""
    title, protocol, source = "Protocol and who is trusted", run.get("protocol"), run.get("source")
    if not protocol:
        return section(title, absent())
    rows = [
        (name, protocol[key])
        for key, name in (
            ("name", "Protocol"),
            ("computing", "Parties in this run"),
            ("corrupt", "May be corrupt"),
            ("adversary", "Adversary"),
            ("setup", "Set-up"),
        )
        if protocol.get(key) is not None
    ]
    if source:
        kinds = (source.get("served") or {}).items()
        served = [f"{shown(count, as_count)} {kind}" for kind, count in kinds]
        rows += [
            ("Correlated randomness from", source.get("name", "–")),
            ("Which assumes that", source.get("assumption", "–")),
            ("Items served", ", ".join(served) or "none"),
        ]
        rows += [
            (name, form(source[key]))
            for key, name, form in (
                ("corrections_bytes", "Corrections that this party was dealt", as_bytes),
                ("skipped", "Items passed over", as_count),
                ("left", "Items left in the file", as_count),
            )
            if finite(source.get(key)) is not None
        ]
    return section(title, table_of(("Property", "Value"), rows))


def sites_read(run: Run) -> Markup:
    """The sites, and the files that this one did not take."""
    title, sites = "Sites and skipped files", run.get("sites")
    if not sites:
        return section(title, absent())
    rows = [
        (
            site.get("name", "–"),
            "–" if site.get("problems") is None else as_count(len(_problems(site))),
        )
        for site in sites
    ]
    parts = [table_of(("Site", "Skipped files"), rows, numbers=1)]
    skipped = [
        (site.get("name", "–"), element("code", file), reason)
        for site in sites
        for file, reason in _problems(site)
    ]
    if skipped:
        parts.append(table_of(("Site", "File", "Reason"), skipped))
    return section(title, *parts)


def _problems(site: Run) -> Sequence[tuple[object, object]]:
    return site.get("problems") or []


def settings_used(run: Run) -> Markup:
    """Settings, their digest, and versions."""
    settings, versions, digest = run.get("settings"), run.get("versions"), run.get("digest")
    parts = []
    if digest:
        parts.append(element("p", "Digest of the settings: ", element("code", digest)))
    for head, values, absence in (
        ("Setting", settings, "Settings: not given."),
        ("Version of", versions, "Versions: not given."),
    ):
        if values:
            rows = [(key, element("code", value)) for key, value in _flat(values)]
            parts.append(table_of((head, "Value"), rows))
        else:
            parts.append(absent(absence))
    return section("Settings and versions", *parts)


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
