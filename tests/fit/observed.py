"""Small datasets with sources in them, through the whole chain of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gammaflow.datasets import MapDataset
from gammaflow.likelihood import npred
from gammaflow.modeling import (
    FoVBackgroundModel,
    GaussianSpatialModel,
    Models,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
    SpatialModel,
)
from tests.likelihood.synthetic import make_dataset


def at(spatial: SpatialModel, name: str = "source", **kwargs: Any) -> SkyModel:
    """A bright source with a power law."""
    return SkyModel(PowerLawSpectralModel(amplitude="3e-8 m-2 s-1 TeV-1"), spatial, name=name, **kwargs)


def point(name: str = "source", lon: float = 83.6, lat: float = 22.0, **kwargs: Any) -> SkyModel:
    return at(PointSpatialModel(lon_0=f"{lon} deg", lat_0=f"{lat} deg"), name, **kwargs)


def blob(
    name: str = "blob", lon: float = 83.6, lat: float = 22.0, sigma: float = 0.12, e: float = 0.0
) -> SkyModel:
    shape = GaussianSpatialModel(
        lon_0=f"{lon} deg", lat_0=f"{lat} deg", sigma=f"{sigma} deg", e=e, phi="40 deg"
    )
    return at(shape, name)


def backgrounds(*names: str) -> list[FoVBackgroundModel]:
    return [FoVBackgroundModel(dataset_name=name) for name in names]


def observed(truth: Sequence[Any], seed: int = 1, name: str = "one", **kwargs: Any) -> MapDataset:
    """A dataset with Poisson counts of what the models predict."""
    dataset = make_dataset(name, **kwargs)
    rng = np.random.default_rng(seed)
    return dataset.with_arrays(counts=rng.poisson(npred(dataset, list(truth))).astype(np.int32))


def both(truth: SkyModel, seed: int = 1) -> tuple[MapDataset, Models]:
    """An observation of a source, and models to fit it with."""
    return observed([truth], seed), Models([truth.copy(truth.name), *backgrounds("one")])
