"""What happens to an observation whose background cannot be measured."""

from __future__ import annotations

import logging
from typing import Any, Literal, TypeVar, get_args

import numpy as np

from gammaflow.datasets import CountsDataset
from gammaflow.errors import ConfigError, NoOffRegionError

log = logging.getLogger(__name__)

#: Where in ``dataset.meta`` the reason is.
FAILURE = "background_failure"

WithoutOff = Literal["mask", "refuse"]
Kind = TypeVar("Kind", bound=CountsDataset)


def check_without_off(value: Any, where: str) -> WithoutOff:
    """The value if it is one of the two that are known; ConfigError otherwise."""
    if value not in get_args(WithoutOff):
        raise ConfigError(f"without_off {value!r}", where=where, hint="Known are mask, refuse")
    checked: WithoutOff = value
    return checked


def unsafe(dataset: Kind, reason: str) -> Kind:
    """The dataset without one safe bin, and with the reason in its ``meta``; a warning is logged."""
    log.warning("%s: the background cannot be measured, no bin is safe: %s", dataset.name, reason)
    dataset = dataset.with_arrays(mask_safe=np.zeros(dataset.geometry.shapes["mask_safe"], dtype=bool))
    dataset.data.attrs["meta"] = {**dataset.meta, FAILURE: reason}
    return dataset


def without_off(dataset: Kind, obs_id: object, reason: str, action: WithoutOff) -> Kind:
    """What becomes of a dataset for which there are no OFF counts: see `unsafe`, or an error.

    Raises
    ------
    NoOffRegionError
        If ``action`` is "refuse"; it names the observation.
    """
    if action == "refuse":
        raise NoOffRegionError(
            reason,
            where=dataset.name if obs_id is None else f"observation {obs_id}",
            hint="Exclude the observation, or change the exclusion mask or the region",
        )
    return unsafe(dataset, reason)
