"""The house holds: a module imports from floors below, or from its right on its own floor.

The order is written here once, as the README shows it. Nothing is imported to find out: the
sources are read, so that an import that would not run here is judged too.
"""

import ast
import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Highest floor first. On a floor, what stands further left may import what stands further right;
# a set is a brace group, whose members leave each other alone. `None`: no order on that floor.
FLOORS: dict[str, list[str | set[str]] | None] = {
    "protocols": [
        "cli",
        "radiology",
        {"training", "inference", "privacy", "aggregation", "interop"},
        "nn",
        "functions",
        "secret",
        {"rep3", "additive", "fss2", "rep4", "clear"},
        "bits",
        "base",
    ],
    "mpc": [
        "launch",
        "sources",
        "rounds",
        "party",
        "correlated",
        "transport",
        "prg",
        "shares",
        "ring",
        "meter",
        "files",
        "errors",
    ],
    "kernels": None,
}
TOP = ("scripts", "benchmarks", "tests")  # may import anything, and nothing imports them

# An import inside a function hides an edge of this picture. Where one has to be, here is why.
MPI_STARTS = "importing mpi4py.MPI starts MPI in this process"
CUPY_STARTS = "importing CuPy looks for a driver; a machine without one never asks for it"
LATE_IMPORTS: dict[tuple[str, str], str] = {
    ("mpc.transport.mpi", "mpi4py"): MPI_STARTS,
    ("mpc.transport.aware", "mpi4py"): MPI_STARTS,
    ("mpc.launch", "mpi4py"): MPI_STARTS,
    ("protocols.interop.crypten.communicator", "mpi4py"): MPI_STARTS,
    ("kernels", "cupy"): CUPY_STARTS,
    ("kernels", "cupyx"): CUPY_STARTS,
    ("kernels", "cupy_backends"): CUPY_STARTS,
}


def module_name(path: Path) -> str:
    """The dotted name of a source file: protocols/nn/__init__.py is protocols.nn."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def split(module: str) -> list[str]:
    return module.split(".")


def read_sources(root: Path) -> dict[Path, str]:
    """Every Python file of the house, by its path; a stub stands for compiled code."""
    return {
        path.relative_to(root): path.read_text(encoding="utf-8")
        for folder in (*FLOORS, *TOP)
        for path in sorted((root / folder).rglob("*.py*"))
        if path.suffix in (".py", ".pyi")
    }


def imported(path: Path, tree: ast.AST, known: Iterable[str]) -> list[tuple[ast.stmt, str]]:
    """Each import as (statement, module); `from a import b` is a.b if that is a module."""
    known = {".".join(parts[:n]) for parts in map(split, known) for n in range(1, len(parts) + 1)}
    package = path.parent.parts
    found: list[tuple[ast.stmt, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node, name.name) for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *(node.module or "").split("."))).strip(".")
            for name in node.names:
                whole = f"{base}.{name.name}"
                found.append((node, whole if whole in known else base))
    return found


def place(module: str) -> tuple[int, int, str] | None:
    """Where a module lives as (floor, position from the left, unit), or None if nowhere.

    A unit is a module of a floor or a package with all in it; the package of a whole floor
    (`mpc` itself) stands left of everything on it.
    """
    top, _, rest = module.partition(".")
    if top in TOP:
        return 0, 0, top
    if top not in FLOORS:
        return None
    floor = list(FLOORS).index(top) + 1
    order, unit = FLOORS[top], rest.partition(".")[0]
    if order is None or not unit:
        return floor, -1, top
    for position, entry in enumerate(order):
        if unit in members(entry):
            return floor, position, f"{top}.{unit}"
    return None


def is_late_import_allowed(module: str, target: str) -> bool:
    return any(
        (module == where or module.startswith(f"{where}."))
        and (target == what or target.startswith(f"{what}."))
        for where, what in LATE_IMPORTS
    )


def find_cycle(edges: Mapping[str, set[str]]) -> list[str]:
    """One cycle as the modules on it, or nothing."""
    done: set[str] = set()

    def walk(module: str, trail: list[str]) -> list[str]:
        if module in trail:
            return [*trail[trail.index(module) :], module]
        if module in done:
            return []
        for target in sorted(edges.get(module, ())):
            if cycle := walk(target, [*trail, module]):
                return cycle
        done.add(module)
        return []

    for module in sorted(edges):
        if cycle := walk(module, []):
            return cycle
    return []


def violations(sources: Mapping[Path, str]) -> list[str]:
    """What breaks the rule, one line each; empty when the house stands."""
    names = {path: module_name(path) for path in sources}
    edges: dict[str, set[str]] = {name: set() for name in names.values()}
    wrong = []
    for path, text in sources.items():
        module, tree = names[path], ast.parse(text, str(path))
        here = place(module)
        if here is None:
            wrong.append(f"{path}: {module} is on no floor; give it a place in FLOORS and README")
            continue
        inside = {
            inner
            for outer in ast.walk(tree)
            if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for inner in ast.walk(outer)
        }
        for node, target in imported(path, tree, names.values()):
            line = f"{path}:{node.lineno}: {module} imports {target}"
            late = node in inside and here[0] > 0
            if late and not is_late_import_allowed(module, target):
                wrong.append(f"{line} inside a function")
            if target in edges and target != module:
                edges[module].add(target)
            there = place(target)
            if there is None:
                if target.partition(".")[0] in FLOORS:
                    wrong.append(f"{line}, which is on no floor")
                continue
            if here[2] == there[2] or here[0] < there[0] or here[0] == 0:
                continue
            if here[0] > there[0]:
                wrong.append(f"{line}, which is a floor above")
            elif here[1] > there[1]:
                wrong.append(f"{line}, which stands to its left")
            elif here[1] == there[1]:
                wrong.append(f"{line}, its neighbour in a brace group")
    if cycle := find_cycle(edges):
        wrong.append(f"a cycle: {' -> '.join(cycle)}")
    return list(dict.fromkeys(wrong))


def test_every_import_goes_down_or_to_the_right():
    found = violations(read_sources(ROOT))
    assert not found, "\n".join(found)


def test_every_folder_of_the_packages_is_read():
    sources = read_sources(ROOT)
    for top in FLOORS:
        assert any(path.parts[0] == top for path in sources), f"no source of {top} was read"


def test_every_folder_of_the_packages_is_a_package():
    folders = {path.parent for path in read_sources(ROOT) if path.parts[0] in FLOORS}
    bare = [
        str(folder) for folder in sorted(folders) if not (ROOT / folder / "__init__.py").exists()
    ]
    assert not bare, f"without __init__.py these are not installed: {', '.join(bare)}"


def test_the_readme_shows_the_floors_in_this_order():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    house = readme[readme.index("## The house") :]
    for top, order in FLOORS.items():
        listed = [[house.find(f"`{top}.{name}`") for name in members(e)] for e in order or ()]
        assert all(min(where) >= 0 for where in listed), f"the README leaves out some of {top}"
        for left, right in itertools.pairwise(listed):
            assert max(left) < min(right), f"the README lists {top} in another order"


def members(entry: str | set[str]) -> set[str]:
    return entry if isinstance(entry, set) else {entry}


GOOD = {
    "kernels/__init__.py": "from kernels import ring",
    "kernels/ring.py": "import numpy as np\nfrom kernels import _native",
    "kernels/gpu.py": "def device():\n    import cupy\n    return cupy",
    "kernels/_native.pyi": "",
    "mpc/__init__.py": "from mpc.party import Party",
    "mpc/errors.py": "",
    "mpc/party.py": "from mpc.errors import E\nfrom mpc import transport\nimport kernels.ring",
    "mpc/transport/__init__.py": "from mpc.transport.base import Transport",
    "mpc/transport/base.py": "from ..errors import MpcError",
    "mpc/transport/mpi.py": "def world():\n    from mpi4py import MPI\n    return MPI",
    "protocols/cli/__init__.py": "from protocols.cli.report import write_report",
    "protocols/cli/report.py": "import protocols.nn",
    "protocols/nn/__init__.py": "from . import tensor",
    "protocols/nn/tensor.py": "from protocols.rep3 import Rep3Protocol\nfrom mpc import Party",
    "protocols/rep3.py": "from protocols.base import Protocol",
    "protocols/base.py": "from mpc.party import Party",
    "benchmarks/run.py": "def case():\n    from protocols import rep3",
    "tests/test_x.py": "import benchmarks.run, protocols.cli",
}


def judge(**changes: str) -> list[str]:
    made_up = GOOD | {name.replace("__", "/") + ".py": text for name, text in changes.items()}
    return violations({Path(name): text for name, text in made_up.items()})


def test_a_house_that_stands_is_left_in_peace():
    assert judge() == []
    assert (
        judge(protocols__functions__relu="", protocols__nn__a="from protocols import functions")
        == []
    )


@pytest.mark.parametrize(
    ("where", "source", "complaint"),
    [
        ("mpc__ring", "from protocols.base import Protocol", "a floor above"),
        ("mpc__ring", "import protocols", "a floor above"),
        ("kernels__bits", "from mpc import errors", "a floor above"),
        ("protocols__base", "import benchmarks.run", "a floor above"),
        ("protocols__base", "from tests import test_x", "a floor above"),
        ("mpc__errors", "from mpc.party import Party", "to its left"),
        ("mpc__errors", "from mpc import party", "to its left"),
        ("mpc__errors", "from . import party", "to its left"),
        ("mpc__errors", "import mpc", "to its left"),
        ("mpc__transport__base", "from .. import party", "to its left"),
        ("protocols__bits", "from protocols.rep3 import Rep3Protocol", "to its left"),
        ("protocols__nn__ops", "from ..cli.report import write_report", "to its left"),
        ("protocols__clear", "from protocols import rep3", "brace group"),
        ("protocols__privacy", "import protocols.training", "brace group"),
        ("protocols__rep3", "def f():\n    from protocols.base import x", "inside a function"),
        ("protocols__rep3", "f = lambda: 0\nasync def g():\n    import os", "inside a function"),
        ("mpc__party", "class P:\n    def f(self):\n        import mpi4py", "inside a function"),
        ("protocols__utils", "", "on no floor"),
        ("mpc__ring", "from mpc.manager import x", "on no floor"),
        ("mpc__ring", "if True:\n    try:\n        import protocols.nn\n    except E: 0", "above"),
    ],
)
def test_a_forbidden_import_is_caught(where, source, complaint):
    found = judge(**{where: source})
    assert any(complaint in line for line in found), found


def test_a_cycle_inside_a_package_is_caught():
    found = judge(
        protocols__nn__one="from protocols.nn import two", protocols__nn__two="from . import one"
    )
    assert found == ["a cycle: protocols.nn.one -> protocols.nn.two -> protocols.nn.one"]


def test_an_allowed_late_import_holds_only_where_it_is_allowed():
    late = "def f():\n    from mpi4py import MPI"
    assert judge(mpc__launch=late) == []
    assert len(judge(protocols__cli__main=late)) == 1
