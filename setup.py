"""Build the compiled layers: contracts are fastsip/*.pxd, mechanism is ext/*.pyx.

Switches (environment): FASTSIP_DEBUG=1 asserts and counts allocations; FASTSIP_SANITIZE=1 adds ASan and UBSan;
FASTSIP_ONLY=_message,_timer builds just those.
"""

import os
import runpy
import shutil
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_py import build_py

DEBUG = bool(os.environ.get("FASTSIP_DEBUG"))
SANITIZE = bool(os.environ.get("FASTSIP_SANITIZE"))
ONLY = [name for name in os.environ.get("FASTSIP_ONLY", "").split(",") if name]
JOBS = len(os.sched_getaffinity(0))

compile_args = ["-std=gnu11", "-O2", "-g", "-fno-plt", "-fvisibility=hidden", "-fno-semantic-interposition"]
compile_args += ["-Wall", "-Wno-unused-function", "-Wno-unused-variable", "-Wno-unreachable-code"]
link_args: list[str] = []
macros = [("_GNU_SOURCE", "1")]
if DEBUG:
    compile_args += ["-O1"]
    macros += [("FASTSIP_DEBUG", "1")]
if SANITIZE:
    compile_args += ["-fsanitize=address,undefined", "-fno-omit-frame-pointer"]
    link_args += ["-fsanitize=address,undefined"]

sources = sorted(Path("ext").glob("_*.pyx"))
extensions = [
    Extension(
        f"fastsip.{path.stem}",
        [str(path)],
        include_dirs=["ext"],
        depends=[str(p) for p in sorted(Path("ext").rglob("*")) if p.suffix in {".h", ".pxi", ".c"}],
        define_macros=macros,
        extra_compile_args=compile_args,
        extra_link_args=link_args,
    )
    for path in sources
    if not ONLY or path.stem in ONLY
]

# The contracts as one number, so that extensions built against others are refused.
layout = Path("fastsip/_layout.pxd")
generated = runpy.run_path("ext/gen_layout.py")["generate"]()
if not layout.exists() or layout.read_text() != generated:
    layout.write_text(generated)


class BuildPackage(build_py):
    """With the C headers the contracts name, where fastsip.get_include() finds them."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            include = Path(self.build_lib, "fastsip", "include")
            include.mkdir(parents=True, exist_ok=True)
            for header in sorted(Path("ext").glob("*.h")):
                shutil.copy2(header, include)


setup(
    cmdclass={"build_py": BuildPackage},
    ext_modules=cythonize(
        extensions,
        build_dir="build/cython",
        nthreads=0,
        language_level=3,
        compiler_directives={
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "nonecheck": False,
            "embedsignature": True,
        },
    ),
    options={"build_ext": {"parallel": JOBS}},
)
