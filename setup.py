"""Builds the packages of the hot path as C, when it is asked to: SLUICE_COMPILE=1 pip install .

They stay plain Python, and without that word nothing is compiled: docs/decisions/015-compiled.md.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from setuptools import Extension, setup

HOT = ("codec", "dialects", "flow", "model", "routing", "stages", "telemetry", "wire")
CORES = os.cpu_count() or 1
FLAGS = ["-O2", "-g0", "-w"]


def modules() -> Iterator[Extension]:
    """Each module of the hot path by itself, so that one that changed is built alone."""
    for folder in HOT:
        for path in sorted(Path("extproc", folder).rglob("*.py")):
            if path.stat().st_size and "pb" not in path.parts:
                name = ".".join(path.with_suffix("").parts)
                yield Extension(name, [str(path)], extra_compile_args=FLAGS)


def compiled() -> list[Extension]:
    if not os.environ.get("SLUICE_COMPILE"):
        return []
    from Cython.Build import cythonize

    # Annotations are for pyright: what Python would let pass must pass here too.
    directives: dict[str, object] = {"annotation_typing": False}
    return cythonize(
        list(modules()),
        build_dir="build/c",
        nthreads=CORES,
        language_level=3,
        compiler_directives=directives,
    )


setup(ext_modules=compiled(), options={"build_ext": {"parallel": str(CORES)}})
