"""The file beside a models' YAML that holds their covariance: Gammapy's table of fixed width, as text.

A column of names, then one a parameter, numbered from 0. A general writer of tables takes minutes for a thousand
parameters; the layout is simple enough to be written and read directly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gammaflow.errors import ModelError

Floats = NDArray[np.float64]

NAMES = "Parameters"


def covariance_text(names: Sequence[str], data: Floats) -> str:
    """The file of a matrix (n, n) of parameters with these names, one line a parameter."""
    columns = [[NAMES, *names]]
    columns += [[str(i), *map(repr, column)] for i, column in enumerate(data.T.tolist())]
    padded = []
    for column in columns:
        width = max(map(len, column))
        padded.append([f" {entry:>{width}} " for entry in column])
    return "".join(f"|{'|'.join(line)}|\n" for line in zip(*padded, strict=True))


def read_covariance_text(text: str, names: Sequence[str]) -> Floats:
    """The matrix of a file, its rows in the order of ``names``.

    Raises
    ------
    ModelError
        The text is no such table, or one of other parameters.
    """
    header, *lines = [line.strip().split("|")[1:-1] for line in text.splitlines() if line.strip()] or [[]]
    columns = [entry.strip() for entry in header]
    if columns != [NAMES, *map(str, range(len(lines)))] or any(len(line) != len(columns) for line in lines):
        raise ModelError(
            "is no covariance file: a column 'Parameters' and one a parameter were expected",
            hint="Remove the line 'covariance:' from the models, or write them anew",
        )
    found = [line[0].strip() for line in lines]
    if sorted(found) != sorted(names):
        differing = sorted(set(found) ^ set(names)) or found
        raise ModelError(
            f"is the covariance of {len(found)} other parameters, see {differing[0]!r}",
            hint="Remove the line 'covariance:' from the models, or write them anew",
        )
    try:
        data = np.array([[float(entry) for entry in line[1:]] for line in lines]).reshape(
            len(lines), len(lines)
        )
    except ValueError as error:
        raise ModelError(f"is no covariance file: {error}") from None
    row_of = {name: row for row, name in enumerate(found)}
    order = [row_of[name] for name in names]
    return np.asarray(data[np.ix_(order, order)])
