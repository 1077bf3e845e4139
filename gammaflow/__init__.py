"""gammaflow: gamma-ray event lists to stacked maps and fitted sources, as a Dask workflow.

A whole analysis
    ``Analysis``, ``AnalysisConfig``
Event lists and responses (DL3)
    ``DataStore``, ``Observation``, ``EventList``, ``GTI``
Geometry
    ``MapAxis``, ``WcsGeom``, ``RegionGeom``
From one to the other
    ``MapDatasetMaker``, ``SpectrumDatasetMaker``, ``SafeMaskMaker``, ``DatasetsMaker``; the background:
    ``FoVBackgroundMaker``, ``RingBackgroundMaker``, ``AdaptiveRingBackgroundMaker``,
    ``ReflectedRegionsBackgroundMaker``, ``PhaseBackgroundMaker``
Datasets (DL4)
    ``MapDataset``, ``MapDatasetOnOff``, ``SpectrumDataset``, ``SpectrumDatasetOnOff``, ``FluxPointsDataset``,
    ``Datasets``, ``stack``
Models and fits
    ``Models``, ``SkyModel``, ``FoVBackgroundModel``, ``Fit``; spectra and shapes in ``gammaflow.modeling``
Figures
    ``plot_map``, ``plot_dataset``, ``plot_spectrum``, ``plot_flux_points``, ``plot_residuals``
When something is wrong
    ``GammaflowError``, and its kinds in ``gammaflow.errors``

Names are imported when they are first used, so that ``import gammaflow`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gammaflow.analysis import Analysis
    from gammaflow.config import AnalysisConfig
    from gammaflow.dag import Fit
    from gammaflow.data import GTI, DataStore, EventList, Observation
    from gammaflow.datasets import (
        Datasets,
        FluxPointsDataset,
        MapDataset,
        MapDatasetOnOff,
        SpectrumDataset,
        SpectrumDatasetOnOff,
        stack,
    )
    from gammaflow.errors import GammaflowError
    from gammaflow.makers import (
        AdaptiveRingBackgroundMaker,
        DatasetsMaker,
        FoVBackgroundMaker,
        MapDatasetMaker,
        PhaseBackgroundMaker,
        ReflectedRegionsBackgroundMaker,
        RingBackgroundMaker,
        SafeMaskMaker,
        SpectrumDatasetMaker,
    )
    from gammaflow.maps import MapAxis, RegionGeom, WcsGeom
    from gammaflow.modeling import FoVBackgroundModel, Models, SkyModel
    from gammaflow.plot import plot_dataset, plot_flux_points, plot_map, plot_residuals, plot_spectrum

_ROOMS = {
    "analysis": ("Analysis",),
    "config": ("AnalysisConfig",),
    "data": ("DataStore", "Observation", "EventList", "GTI"),
    "maps": ("MapAxis", "WcsGeom", "RegionGeom"),
    "makers": (
        "MapDatasetMaker",
        "SpectrumDatasetMaker",
        "SafeMaskMaker",
        "FoVBackgroundMaker",
        "RingBackgroundMaker",
        "AdaptiveRingBackgroundMaker",
        "ReflectedRegionsBackgroundMaker",
        "PhaseBackgroundMaker",
        "DatasetsMaker",
    ),
    "datasets": (
        "MapDataset",
        "MapDatasetOnOff",
        "SpectrumDataset",
        "SpectrumDatasetOnOff",
        "FluxPointsDataset",
        "Datasets",
        "stack",
    ),
    "modeling": ("Models", "SkyModel", "FoVBackgroundModel"),
    "dag": ("Fit",),  # from there, Dask clients are known to it
    "plot": ("plot_map", "plot_dataset", "plot_spectrum", "plot_flux_points", "plot_residuals"),
    "errors": ("GammaflowError",),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "GTI",
    "AdaptiveRingBackgroundMaker",
    "Analysis",
    "AnalysisConfig",
    "DataStore",
    "Datasets",
    "DatasetsMaker",
    "EventList",
    "Fit",
    "FluxPointsDataset",
    "FoVBackgroundMaker",
    "FoVBackgroundModel",
    "GammaflowError",
    "MapAxis",
    "MapDataset",
    "MapDatasetMaker",
    "MapDatasetOnOff",
    "Models",
    "Observation",
    "PhaseBackgroundMaker",
    "ReflectedRegionsBackgroundMaker",
    "RegionGeom",
    "RingBackgroundMaker",
    "SafeMaskMaker",
    "SkyModel",
    "SpectrumDataset",
    "SpectrumDatasetMaker",
    "SpectrumDatasetOnOff",
    "WcsGeom",
    "plot_dataset",
    "plot_flux_points",
    "plot_map",
    "plot_residuals",
    "plot_spectrum",
    "stack",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        return version("gammaflow-survey")
    if name in _ROOM_OF:
        return getattr(import_module(f"gammaflow.{_ROOM_OF[name]}"), name)
    raise AttributeError(f"module 'gammaflow' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, "__version__"])
