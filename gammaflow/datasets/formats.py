"""File formats of datasets, by the ending of the path. The formats themselves live in `gammaflow.io`.

Datasets stand below files in the order of the package, and do not know them: each format registers itself
here when its module is imported, which `plugins` sees to.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gammaflow.datasets.plugins import load_plugins
from gammaflow.errors import UnsupportedError

#: Reads the dataset at a path.
Reader = Callable[[Path], Any]
#: Writes a dataset to a path; the last argument allows to replace what is there.
Writer = Callable[[Any, Path, bool], object]

_FORMATS: dict[str, tuple[Reader, Writer]] = {}


def register(ending: str, reader: Reader, writer: Writer) -> None:
    """Let ``reader`` and ``writer`` handle the paths that end on ``ending``, e.g. ``.zarr``."""
    _FORMATS[ending] = (reader, writer)


def reader(path: str | Path) -> Reader:
    """What reads this path."""
    return _find(path)[0]


def writer(path: str | Path) -> Writer:
    """What writes this path."""
    return _find(path)[1]


def _find(path: str | Path) -> tuple[Reader, Writer]:
    load_plugins()
    for ending, format_ in _FORMATS.items():
        if str(path).endswith(ending):
            return format_
    known = ", ".join(_FORMATS) or "none: is gammaflow installed?"
    raise UnsupportedError(
        "the format of the file is not known by its ending", where=str(path), hint=f"Known endings: {known}"
    )
