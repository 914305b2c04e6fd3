"""`radmpc deal`: make the correlated randomness of a job ahead, as a file and a key for each site.

Whoever runs this could read every opening of that job: it is the dealer, and is to be trusted as
one (SECURITY.md). It reads no study's content, and of a site that is elsewhere only how many
studies it has.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from mpc.errors import UsageError
from mpc.files import write_whole
from mpc.sources.sealed import KEY_BYTES, deal, refuse_to_replace
from protocols.cli.console import Console
from protocols.cli.job import Job
from protocols.cli.jobfile import read_job
from protocols.cli.plan import planned_items
from protocols.cli.plan.cohort import count_studies


def deal_items(path: Path, command: str, studies: Mapping[str, str] | None = None) -> int:
    """Write each site's file and key, mode 600, and say where they are; returns an exit code.

    Args:
        path: the job file.
        command: "train" or "infer", which asks for them.
        studies: for sites whose files are not here, how many.

    Raises:
        UsageError: the job takes no files, one is there already or cannot be made, or how many
            studies a site has is not known.
    """
    job = read_job(path)
    if job.source != "file":
        raise UsageError(
            'this job takes no items from files: set protocol = "additive" and source = "file"'
        )
    places = [job.items(rank, command) for rank in range(len(job.sites))]
    written = [place for pair in places for place in pair]
    if len(set(written)) < len(written):
        raise UsageError("two sites name the same file for their items or their keys")
    for place in written:
        refuse_to_replace(place)
    for folder in dict.fromkeys(place.parent for place in written):
        _make(folder)  # before the work, not after it
    cohort = count_studies(job, command, studies)
    print(f"counting what {command} will ask for", flush=True)
    items = planned_items(job, command, cohort)
    size = sum(item.correction_bytes for item in items)
    print(f"{len(items)} items, of which the last site stores {size / 1e6:.0f} MB", flush=True)
    keys = [secrets.token_bytes(KEY_BYTES) for _ in places]
    console = Console(0, "dealer")
    with console.progress("dealing", len(items)) as bar:
        files = [file for file, _ in places]
        deal(files, keys, items, label=job.items_label(command), on_item=bar.step)
    try:
        for (_, key_path), key in zip(places, keys, strict=True):
            write_whole(key_path, key)
    except BaseException:  # a file without its key is none
        for place in written:
            place.unlink(missing_ok=True)
        raise
    _tell(job, command)
    return 0


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {folder}: {error.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"you may not write into {folder}, where a site's items go")


def _tell(job: Job, command: str) -> None:
    for rank, site in enumerate(job.sites):
        file, key = job.items(rank, command)
        print(f"for {site.name} alone: {file}, and its key {key}")
    print(
        "Bring each file and each key to its own site and to nobody else, the key by another way "
        "than the file. Keep no copy: whoever has all of them can read what the sites open."
    )
