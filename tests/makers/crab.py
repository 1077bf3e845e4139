"""What the reference of the background makers was made of: runs, regions, finders, phases, a directional cut."""

import json
from pathlib import Path

import numpy as np

from gammaflow.data import DataStore, EventList, Observation
from gammaflow.datasets import SpectrumDataset, SpectrumDatasetGeometry
from gammaflow.irf import IrfAxis, RadMax2D
from gammaflow.makers import ExclusionMask, ExclusionRegions, ReflectedRegionsFinder, WobbleRegionsFinder
from gammaflow.maps import MapAxis, RegionGeom, WcsGeom

CRAB = (83.63, 22.01)
ENERGY = MapAxis.from_energy_bounds("0.3 TeV", "40 TeV", 8)
TRUE = MapAxis.from_energy_bounds("0.2 TeV", "60 TeV", 10, name="energy_true")
REGIONS = {
    "circle": "icrs;circle(83.63,22.01,0.11)",
    "galactic": "galactic;circle(184.55974014406843,-5.78918014988616,0.11)",
    "ellipse": "icrs;ellipse(83.63,22.01,0.15,0.08,30)",
    "rectangle": "icrs;box(83.63,22.01,0.2,0.12,20)",
    "point": "icrs;point(83.63,22.01)",
}
FINDERS = {
    "reflected": ReflectedRegionsFinder(),
    "few": ReflectedRegionsFinder(max_region_number=3, min_distance_input="0.5 rad"),
    "sparse": ReflectedRegionsFinder(angle_increment="0.03 rad", min_distance="0.2 rad", binsz="0.02 deg"),
    "wobble 3": WobbleRegionsFinder(3),
    "wobble 7": WobbleRegionsFinder(7),
    "wobble 40": WobbleRegionsFinder(40),
}
EXCLUDED = "icrs;circle(83.63,22.01,0.25)\nicrs;circle(84.4,21.6,0.15)\nicrs;circle(83.1,22.5,0.2)\n"
PHASES = {
    "one of each": {"on_phase": (0.2, 0.5), "off_phase": (0.6, 0.9)},
    "over the end": {"on_phase": (0.9, 0.1), "off_phase": [(0.2, 0.3), (0.5, 0.8)]},
}


def reference() -> dict:
    path = Path(__file__).resolve().parent.parent / "reference" / "background_makers.json"
    return json.loads(path.read_text())


def observation(data: Path, obs_id: int) -> Observation:
    return DataStore.from_dir(data / "hess-dl3-dr1").obs(obs_id)


def with_parts(observation: Observation, **parts) -> Observation:
    """The observation with other parts: events, rad_max."""
    irfs = {name: getattr(observation, name) for name in ("aeff", "edisp", "psf", "bkg")}
    if "rad_max" in parts:
        irfs["rad_max"] = parts.pop("rad_max")
    return Observation.create(
        observation.obs_id,
        pointing=observation.pointing,
        gti=observation.gti,
        events=parts.get("events", observation.events),
        deadtime_fraction=observation.deadtime_fraction,
        site=observation.site,
        irfs=irfs,
        meta=observation.meta,
    )


def with_phases(observation: Observation) -> Observation:
    events = observation.events
    columns = {name: events.column(name) for name in ("RA", "DEC", "ENERGY", "TIME")}
    columns["PHASE"] = events.column("EVENT_ID") % 997 / 997
    return with_parts(observation, events=EventList.from_arrays(columns, events.time_reference, events.meta))


def directional_cut() -> RadMax2D:
    energy = IrfAxis.from_edges([0.1, 0.5, 1, 3, 10, 100], "energy", "log")
    offset = IrfAxis.from_edges([0.0, 0.3, 0.6, 1.2], "offset", "lin")
    return RadMax2D([energy, offset], 0.2 - 0.02 * np.arange(5)[:, None] + 0.01 * np.arange(3))


def exclusion() -> ExclusionMask:
    geom = WcsGeom.create(CRAB, npix=(200, 180), binsz=0.03, proj="TAN")
    return ExclusionMask(geom, geom.region_mask(EXCLUDED, inside=False))


def excluded_regions() -> ExclusionRegions:
    return ExclusionRegions.create(EXCLUDED)


def geometry(region: str) -> SpectrumDatasetGeometry:
    return SpectrumDatasetGeometry.create(RegionGeom.create(REGIONS.get(region, region), [ENERGY]), TRUE)


def empty(region: str = "circle") -> SpectrumDataset:
    return SpectrumDataset.create(geometry(region), name="one")
