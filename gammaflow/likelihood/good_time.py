"""The mean of a source's temporal model over the good time of a dataset."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.time import TimeDelta

from gammaflow.errors import DataError, UnsupportedError
from gammaflow.modeling import SkyModel


def mean_in_time(dataset: Any, source: SkyModel, where: str) -> float:
    """Mean of the temporal model over the good time intervals; 1 without one.

    Parameters
    ----------
    dataset : Dataset
        With good time intervals.
    source : SkyModel
    where : str
        For messages.

    Raises
    ------
    UnsupportedError
        When a temporal parameter is free.
    DataError
        When there are no good time intervals.
    """
    if source.temporal_model is None:
        return 1.0
    if source.temporal_model.parameters.free_parameters.names:
        raise UnsupportedError(
            f"free temporal parameters: {', '.join(source.temporal_model.parameters.free_parameters.names)}",
            where=where,
            hint="Freeze them; fit the flux of each interval instead.",
        )
    gti = dataset.gti
    if gti is None or not len(gti.start):
        raise DataError("no good time intervals to average a temporal model over", where=where)
    start = gti.reference + TimeDelta(gti.start, format="sec")
    stop = gti.reference + TimeDelta(gti.stop, format="sec")
    return float(np.sum(source.temporal_model.integral(start, stop)))
