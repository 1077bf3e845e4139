"""What computes the counts that sources are expected to give. The computation itself lives in
`gammaflow.likelihood`.

Datasets stand below the likelihood in the order of the package, and do not know it: it registers itself here
when it is imported, which `plugins` sees to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammaflow.datasets.plugins import load_plugins
from gammaflow.errors import UnsupportedError
from gammaflow.modeling import SkyModel

#: Counts (energy, y, x) or (energy,), float64, that some sources are expected to give in a dataset.
Predictor = Callable[[Any, Sequence[SkyModel]], NDArray[np.float64]]

_REGISTERED: list[Predictor] = []


def register(predictor: Predictor) -> None:
    """Let ``predictor`` compute the counts of sources in all datasets."""
    _REGISTERED[:] = [predictor]


def predict(dataset: Any, sources: Sequence[SkyModel]) -> NDArray[np.float64]:
    """Counts that sources are expected to give in a dataset, in the shape of its counts.

    Raises
    ------
    UnsupportedError
        When there are sources, and nothing is registered that computes them.
    """
    shape = dataset.geometry.shapes["counts"]
    if not sources:
        return np.zeros(shape)
    if not _REGISTERED:
        load_plugins()
    if not _REGISTERED:
        raise UnsupportedError(
            f"nothing computes the counts of {', '.join(s.name for s in sources)}",
            where=f"dataset {dataset.name}",
            hint="Is gammaflow installed? It finds the likelihood by the entry points of its distribution",
        )
    return np.asarray(_REGISTERED[0](dataset, sources), dtype=np.float64).reshape(shape)
