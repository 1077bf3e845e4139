"""Makers that measure the background from the data."""

from gammaflow.makers.background.adaptive_ring import AdaptiveRingBackgroundMaker
from gammaflow.makers.background.exclusion import ExclusionMask, ExclusionRegions, read_exclusion
from gammaflow.makers.background.fov import FoVBackgroundMaker
from gammaflow.makers.background.phase import PhaseBackgroundMaker
from gammaflow.makers.background.reflected import ReflectedRegionsBackgroundMaker
from gammaflow.makers.background.region_finders import (
    ReflectedRegionsFinder,
    RegionsFinder,
    WobbleRegionsFinder,
)
from gammaflow.makers.background.ring import RingBackgroundMaker

__all__ = [
    "AdaptiveRingBackgroundMaker",
    "ExclusionMask",
    "ExclusionRegions",
    "FoVBackgroundMaker",
    "PhaseBackgroundMaker",
    "ReflectedRegionsBackgroundMaker",
    "ReflectedRegionsFinder",
    "RegionsFinder",
    "RingBackgroundMaker",
    "WobbleRegionsFinder",
    "read_exclusion",
]
