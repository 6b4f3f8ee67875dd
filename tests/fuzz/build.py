"""What is fuzzed is built here, below build/fuzz: the parser with libFuzzer, the server with sanitizers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
FUZZ = ROOT / "build" / "fuzz"
HERE = Path(__file__).parent
DIRECTIVES = ("boundscheck", "wraparound", "initializedcheck", "nonecheck")
"""Off, as in setup.py."""
SANITIZED = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer"]
LEFT_OUT = {"_facts", "_load", "_table", "_testing"}
"""Compiled modules the engine does without."""


class Missing(Exception):
    """Something that this machine has not; the text says how to get it."""


def clang() -> str:
    for name in ("clang", *(f"clang-{version}" for version in range(22, 12, -1))):
        found = shutil.which(name)
        if found and _has_libfuzzer(found):
            return found
    raise Missing("no clang with libFuzzer; on Debian 12: apt-get install clang-14 libclang-rt-14-dev")


def _has_libfuzzer(compiler: str) -> bool:
    program = "int LLVMFuzzerTestOneInput(const char *data, unsigned long size) { return size && *data == 1; }"
    command = [compiler, "-fsanitize=fuzzer,address", "-x", "c", "-", "-o", os.devnull]
    return subprocess.run(command, input=program.encode(), capture_output=True).returncode == 0


def _newest(paths: Iterable[Path]) -> float:
    return max(path.stat().st_mtime for path in paths)


def _run(command: list[str], **options: object) -> None:
    done = subprocess.run(command, capture_output=True, text=True, **options)  # type: ignore[call-overload]
    if done.returncode:
        raise Missing(f"{' '.join(command[:4])} ... failed:\n{done.stderr[-3000:]}")


def parser() -> Path:
    """The libFuzzer program of target.pyx."""
    program, source, target = FUZZ / "fuzz-parser", FUZZ / "fuzz-parser.c", HERE / "target.pyx"
    needs = [target, ROOT / "fastsip" / "_message.pxd", *(ROOT / "ext" / "message").iterdir()]
    needs += [ROOT / "ext" / name for name in ("_message.pyx", "scan.h", "chars.h", "names.h")]
    if program.exists() and program.stat().st_mtime > _newest(needs):
        return program
    compiler = clang()
    FUZZ.mkdir(parents=True, exist_ok=True)
    off = [word for name in DIRECTIVES for word in ("-X", f"{name}=False")]
    cython = [sys.executable, "-m", "cython", "-3", *off, "-X", "cdivision=True", "-I", "ext", "-I", "."]
    _run([*cython, "--module-name", "fastsip._message", "-o", str(source), str(target)], cwd=ROOT)
    where = sysconfig.get_config_var("LIBDIR")
    python = [f"-L{where}", f"-Wl,-rpath,{where}", f"-lpython{sysconfig.get_config_var('LDVERSION')}"]
    flags = ["-std=gnu11", "-O1", "-g", "-w", "-D_GNU_SOURCE", "-fno-sanitize-recover=undefined", "-Iext"]
    flags += [f"-I{sysconfig.get_paths()['include']}", "-fsanitize=fuzzer,address,undefined", "-fno-omit-frame-pointer"]
    libraries = [*python, *sysconfig.get_config_var("LIBS").split(), "-lm"]
    _run([compiler, *flags, str(source), "-o", str(program), *libraries], cwd=ROOT)
    return program


def server() -> tuple[Path, dict[str, str]]:
    """The folder with a sanitized `fastsip`, and the environment that loads it."""
    tree, shim = FUZZ / "server", FUZZ / "cover.so"
    stamp = tree / ".built"
    files = [ROOT / name for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE")]
    sources = [path for part in ("ext", "fastsip") for path in (ROOT / part).rglob("*") if _is_source(path)]
    for path in (*files, *sources):
        copy = tree / path.relative_to(ROOT)
        if not copy.exists() or copy.stat().st_mtime < path.stat().st_mtime:
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    compiled = [path for path in sources if path.suffix not in (".py", ".pyi")]
    if not stamp.exists() or stamp.stat().st_mtime < _newest(compiled):
        modules = {path.stem for path in (ROOT / "ext").glob("_*.pyx")} - LEFT_OUT
        env = {**os.environ, "FASTSIP_SANITIZE": "1", "FASTSIP_DEBUG": "1", "FASTSIP_ONLY": ",".join(sorted(modules))}
        env["CFLAGS"] = "-fsanitize-coverage=trace-pc"
        _run([sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"], cwd=tree, env=env)
        stamp.touch()
    if not shim.exists() or shim.stat().st_mtime < (HERE / "cover.c").stat().st_mtime:
        _run(["gcc", "-O2", "-shared", "-fPIC", str(HERE / "cover.c"), "-o", str(shim), "-ldl"])
    preload = [str(shim), *(_library(f"lib{name}.so") for name in ("asan", "ubsan"))]
    return tree, {
        "LD_PRELOAD": " ".join(preload),
        # The interpreter's own leaks would be reported; what counts is that the heap does not grow.
        "ASAN_OPTIONS": "detect_leaks=0:verify_asan_link_order=0:quarantine_size_mb=16:abort_on_error=1",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": f"{tree}:{HERE.parent}",
        "FASTSIP_FUZZ_SHIM": str(shim),
    }


def _is_source(path: Path) -> bool:
    return path.is_file() and path.suffix not in (".so", ".pyc") and path.name != "_layout.pxd"


def _library(name: str) -> str:
    found = subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True).stdout.strip()
    if not found or found == name:
        raise Missing(f"gcc has no {name}; on Debian: apt-get install gcc")
    return found
