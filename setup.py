"""Builds the compiled kernels; everything else about the distribution is in pyproject.toml."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup
from setuptools.command.build_ext import build_ext

OLDEST_GCC = 10
NEEDS = f"radmpc needs g++ {OLDEST_GCC} or newer to build its kernels"


def require_compiler() -> None:
    """Stop with one line unless there is a compiler that knows the kernels' instructions."""
    compiler = os.environ.get("CXX") or "g++"
    program = compiler.split()[0]
    if shutil.which(program) is None:
        sys.exit(f"{NEEDS}, and {program} was not found")
    version = subprocess.run(
        [*compiler.split(), "-dumpfullversion", "-dumpversion"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    if not re.match(r"\d+", version) or int(version.split(".")[0]) < OLDEST_GCC:
        sys.exit(f"{NEEDS}, and {program} is {version or 'of no known version'}")
    os.environ.setdefault("CXX", compiler)
    if sys.byteorder != "little":
        sys.exit("radmpc reads streams as little-endian words and does not run on this machine")


class BuildKernels(build_ext):
    """Looks at the compiler first, and replaces a module in use only once the new one is whole."""

    def run(self) -> None:
        """Check, then build."""
        require_compiler()
        super().run()

    def copy_extensions_to_source(self) -> None:
        """Put the built module into place in one step: others may be importing the old one."""
        package = self.get_finalized_command("build_py").get_package_dir("kernels")
        for extension in self.extensions:
            built = Path(self.build_lib, self.get_ext_filename(extension.name))
            final = Path(package, built.name)
            fresh = final.with_suffix(f".{os.getpid()}")
            shutil.copy2(built, fresh)
            fresh.replace(final)


native = Pybind11Extension(
    "kernels._native",
    sorted(str(p) for p in Path("kernels/src").glob("*.cpp")),
    depends=sorted(str(p) for p in Path("kernels/src").glob("*.h")),
    cxx_std=17,
    # Each isa_*.cpp turns on its own instructions; nothing here may assume the machine that builds.
    # g++ 12 takes the deliberately undefined registers in its own intrinsics for a mistake.
    extra_compile_args=[
        "-O3",
        "-fvisibility=hidden",
        "-fno-strict-aliasing",
        "-pthread",
        "-g0",
        "-Wno-maybe-uninitialized",
    ],
    extra_link_args=["-pthread"],
)

setup(ext_modules=[native], cmdclass={"build_ext": BuildKernels})
