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

#: Reads and writes a collection of datasets: a YAML file that lists them, and one of models.
ListReader = Callable[..., Any]
ListWriter = Callable[..., object]

_FORMATS: dict[str, tuple[Reader, Writer]] = {}
_LIST: list[tuple[ListReader, ListWriter]] = []
_HDUS: list[tuple[Callable[[Any], Any], Callable[[Any], Any]]] = []


def register(ending: str, reader: Reader, writer: Writer) -> None:
    """Let ``reader`` and ``writer`` handle the paths that end on ``ending``, e.g. ``.zarr``."""
    _FORMATS[ending] = (reader, writer)


def register_list(reader: ListReader, writer: ListWriter) -> None:
    """Let ``reader`` and ``writer`` handle the files that list datasets."""
    _LIST[:] = [(reader, writer)]


def list_format() -> tuple[ListReader, ListWriter]:
    """What reads and writes the files that list datasets."""
    load_plugins()
    if not _LIST:
        raise UnsupportedError(
            "nothing reads or writes lists of datasets", where="Datasets", hint="Is gammaflow installed?"
        )
    return _LIST[0]


def register_hdus(reader: Callable[[Any], Any], writer: Callable[[Any], Any]) -> None:
    """Let ``reader`` and ``writer`` go between datasets and lists of FITS HDUs."""
    _HDUS[:] = [(reader, writer)]


def hdu_format() -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """What makes a dataset of HDUs, and HDUs of a dataset."""
    load_plugins()
    if not _HDUS:
        raise UnsupportedError(
            "nothing reads or writes HDUs", where="datasets", hint="Is gammaflow installed?"
        )
    return _HDUS[0]


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
