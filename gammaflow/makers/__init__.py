"""Makers: from events and responses to maps and spectra."""

from gammaflow.makers.background import (
    AdaptiveRingBackgroundMaker,
    ExclusionMask,
    ExclusionRegions,
    FoVBackgroundMaker,
    PhaseBackgroundMaker,
    ReflectedRegionsBackgroundMaker,
    ReflectedRegionsFinder,
    RegionsFinder,
    RingBackgroundMaker,
    WobbleRegionsFinder,
    read_exclusion,
)
from gammaflow.makers.chain import Maker, MakerChain, make_chain
from gammaflow.makers.datasets_maker import DatasetsMaker
from gammaflow.makers.map_maker import MapDatasetMaker
from gammaflow.makers.safe_mask import SafeMaskMaker
from gammaflow.makers.spectrum_maker import SpectrumDatasetMaker

__all__ = [
    "AdaptiveRingBackgroundMaker",
    "DatasetsMaker",
    "ExclusionMask",
    "ExclusionRegions",
    "FoVBackgroundMaker",
    "Maker",
    "MakerChain",
    "MapDatasetMaker",
    "PhaseBackgroundMaker",
    "ReflectedRegionsBackgroundMaker",
    "ReflectedRegionsFinder",
    "RegionsFinder",
    "RingBackgroundMaker",
    "SafeMaskMaker",
    "SpectrumDatasetMaker",
    "WobbleRegionsFinder",
    "make_chain",
    "read_exclusion",
]
