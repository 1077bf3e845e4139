"""Reference numbers for spectra and for backgrounds measured in the data, from Gammapy 2.1.

Run in an environment that has Gammapy, with GAMMAPY_DATA set:

    python tests/reference/make_background_makers.py

Writes background_makers.json beside this file. Runs of the public H.E.S.S. test data, with phases and a
directional cut that `tests/makers/reference_cases.py` also makes up.
"""

import json
import logging
import os
import warnings
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from gammapy.data import DataStore, EventList
from gammapy.datasets import MapDataset, SpectrumDataset
from gammapy.irf import RadMax2D
from gammapy.makers import (
    AdaptiveRingBackgroundMaker,
    MapDatasetMaker,
    PhaseBackgroundMaker,
    ReflectedRegionsBackgroundMaker,
    ReflectedRegionsFinder,
    SafeMaskMaker,
    SpectrumDatasetMaker,
    WobbleRegionsFinder,
)
from gammapy.maps import MapAxis, RegionGeom, WcsGeom
from regions import CircleSkyRegion, EllipseSkyRegion, PointSkyRegion, RectangleSkyRegion, Regions

warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)

CRAB = SkyCoord(83.63, 22.01, unit="deg")
ENERGY = MapAxis.from_energy_bounds(0.3, 40, nbin=8, unit="TeV", name="energy")
TRUE = MapAxis.from_energy_bounds(0.2, 60, nbin=10, unit="TeV", name="energy_true")
STORE = DataStore.from_dir(Path(os.environ["GAMMAPY_DATA"]) / "hess-dl3-dr1")

CIRCLE = CircleSkyRegion(CRAB, 0.11 * u.deg)
REGIONS = {
    "circle": CIRCLE,
    "galactic": CircleSkyRegion(CRAB.galactic, 0.11 * u.deg),
    "ellipse": EllipseSkyRegion(CRAB, 0.3 * u.deg, 0.16 * u.deg, 30 * u.deg),
    "rectangle": RectangleSkyRegion(CRAB, 0.2 * u.deg, 0.12 * u.deg, 20 * u.deg),
}
FINDERS = {
    "reflected": ReflectedRegionsFinder(),
    "few": ReflectedRegionsFinder(max_region_number=3, min_distance_input="0.5 rad"),
    "sparse": ReflectedRegionsFinder(angle_increment="0.03 rad", min_distance="0.2 rad", binsz="0.02 deg"),
    "wobble 3": WobbleRegionsFinder(3),
    "wobble 7": WobbleRegionsFinder(7),
    "wobble 40": WobbleRegionsFinder(40),
}
EXCLUDED = Regions.parse(
    "icrs;circle(83.63,22.01,0.25)\nicrs;circle(84.4,21.6,0.15)\nicrs;circle(83.1,22.5,0.2)", format="ds9"
)


def numbers(array):
    return [float(f"{x:.9g}") for x in np.asarray(array, dtype=float).ravel()]


def exclusion():
    return ~WcsGeom.create(skydir=CRAB, npix=(200, 180), binsz=0.03, proj="TAN").region_mask(list(EXCLUDED))


def empty(region, name="one"):
    return SpectrumDataset.create(
        RegionGeom.create(region, axes=[ENERGY], binsz_wcs="0.01 deg"), energy_axis_true=TRUE, name=name
    )


def off_regions():
    rows = []
    for obs_id in (23523, 23559):
        observation = STORE.obs(obs_id)
        for region in REGIONS:
            for finder in FINDERS:
                for mask in (None, exclusion()):
                    dataset = SpectrumDatasetMaker(selection=["counts"]).run(
                        empty(REGIONS[region]), observation
                    )
                    maker = ReflectedRegionsBackgroundMaker(FINDERS[finder], mask)
                    made = maker.run(dataset, observation)
                    rows.append(
                        {
                            "obs_id": obs_id,
                            "region": region,
                            "finder": finder,
                            "exclusion": mask is not None,
                            "counts": numbers(made.counts.data),
                            "n": 0 if made.counts_off is None else float(made.acceptance_off.data[0, 0, 0]),
                            "counts_off": None if made.counts_off is None else numbers(made.counts_off.data),
                            "safe": bool(made.mask_safe.data.any()),
                        }
                    )
    return rows


def off_centers():
    found, _ = ReflectedRegionsFinder().run(
        CIRCLE, STORE.obs(23523).get_pointing_icrs(STORE.obs(23523).tmid), exclusion()
    )
    return [[r.center.ra.deg, r.center.dec.deg, r.radius.to_value("deg")] for r in found]


def spectra():
    rows = []
    observation = STORE.obs(23523)
    for region in REGIONS:
        for center in (True, False):
            maker = SpectrumDatasetMaker(use_region_center=center, containment_correction=region == "circle")
            dataset = maker.run(empty(REGIONS[region]), observation)
            rows.append(
                {
                    "region": region,
                    "use_region_center": center,
                    "exposure": numbers(dataset.exposure.data),
                    "background": numbers(dataset.background.data),
                    "edisp": numbers(dataset.edisp.edisp_map.data),
                    "edisp_exposure": numbers(dataset.edisp.exposure_map.data),
                }
            )
    return rows


def safe_masks():
    rows = []
    observation = STORE.obs(23559)
    arguments = [
        {"methods": ["aeff-default"]},
        {"methods": ["aeff-max"], "aeff_percent": 20},
        {"methods": ["edisp-bias"], "bias_percent": 5},
        {"methods": ["bkg-peak"]},
        {"methods": ["offset-max"], "offset_max": "0.6 deg"},
        {"methods": ["offset-max"], "offset_max": "2 deg"},
        {"methods": ["aeff-max", "edisp-bias"], "irfs": "DL3"},
    ]
    for kwargs in arguments:
        for on_off in (False, True):
            dataset = SpectrumDatasetMaker().run(empty(CIRCLE), observation)
            if on_off:
                dataset = ReflectedRegionsBackgroundMaker(exclusion_mask=exclusion()).run(
                    dataset, observation
                )
            mask = SafeMaskMaker(**kwargs).run(dataset, observation).mask_safe
            rows.append({"arguments": kwargs, "on_off": on_off, "mask": numbers(mask.data)})
    return rows


def with_phases(observation):
    table = observation.events.table.copy()
    table["PHASE"] = np.asarray(table["EVENT_ID"]) % 997 / 997
    observation._events = EventList(table)
    return observation


PHASES = {
    "one of each": {"on_phase": (0.2, 0.5), "off_phase": (0.6, 0.9)},
    "over the end": {"on_phase": (0.9, 0.1), "off_phase": [(0.2, 0.3), (0.5, 0.8)]},
}


def phases():
    rows = []
    observation = with_phases(STORE.obs(23523))
    geom = WcsGeom.create(skydir=CRAB, width=1, binsz=0.1, axes=[ENERGY])
    for name, kwargs in PHASES.items():
        for kind in ("spectrum", "map"):
            if kind == "spectrum":
                dataset = SpectrumDatasetMaker(selection=["counts", "exposure"]).run(
                    empty(CIRCLE), observation
                )
            else:
                reference = MapDataset.create(geom, energy_axis_true=TRUE)
                dataset = MapDatasetMaker(selection=["counts", "exposure"]).run(reference, observation)
            made = PhaseBackgroundMaker(**kwargs).run(dataset, observation)
            rows.append(
                {
                    "case": name,
                    "kind": kind,
                    "counts": numbers(made.counts.data),
                    "counts_off": numbers(made.counts_off.data),
                    "acceptance": float(made.acceptance.data.max()),
                    "acceptance_off": float(made.acceptance_off.data.max()),
                    "exposure_sum": float(made.exposure.data.sum()),
                }
            )
    return rows


def directional_cut():
    energy = MapAxis.from_energy_edges([0.1, 0.5, 1, 3, 10, 100] * u.TeV)
    offset = MapAxis.from_edges([0.0, 0.3, 0.6, 1.2], unit="deg", name="offset")
    radius = 0.2 - 0.02 * np.arange(5)[:, None] + 0.01 * np.arange(3)
    return RadMax2D(axes=[energy, offset], data=radius * u.deg)


def cuts():
    rows = []
    for obs_id in (23523, 23559):
        for finder in (WobbleRegionsFinder(1), WobbleRegionsFinder(3), WobbleRegionsFinder(12)):
            observation = STORE.obs(obs_id)
            observation._rad_max = directional_cut()
            dataset = SpectrumDatasetMaker(selection=["counts"]).run(empty(PointSkyRegion(CRAB)), observation)
            made = ReflectedRegionsBackgroundMaker(finder, exclusion()).run(dataset, observation)
            rows.append(
                {
                    "obs_id": obs_id,
                    "n_off_regions": finder.n_off_regions,
                    "counts": numbers(made.counts.data),
                    "n": 0 if made.counts_off is None else float(made.acceptance_off.data[0, 0, 0]),
                    "counts_off": None if made.counts_off is None else numbers(made.counts_off.data),
                }
            )
    return rows


ADAPTIVE = {
    "fixed_width": {"r_in": "0.4 deg", "r_out_max": "0.9 deg", "width": "0.1 deg", "threshold_alpha": 0.005},
    "fixed_r_in": {
        "r_in": "0.3 deg", "r_out_max": "0.8 deg", "width": "0.1 deg", "stepsize": "0.05 deg", "threshold_alpha": 0.004,
    },
}  # fmt: skip


def adaptive_rings():
    rows = []
    energy = MapAxis.from_energy_bounds("0.5 TeV", "20 TeV", nbin=1)
    geom = WcsGeom.create(skydir=CRAB, width=(2, 2), binsz=0.04, axes=[energy])
    mask = ~geom.to_image().region_mask([CircleSkyRegion(CRAB, 0.3 * u.deg)])
    observation = STORE.obs(23523)
    reference = MapDataset.create(geom, energy_axis_true=TRUE)
    for method, kwargs in ADAPTIVE.items():
        dataset = MapDatasetMaker(selection=["counts", "exposure", "background"]).run(reference, observation)
        made = AdaptiveRingBackgroundMaker(method=method, exclusion_mask=mask, **kwargs).run(
            dataset, observation
        )
        rows.append(
            {
                "method": method,
                # Every third pixel; NaN, where no ring is large enough, as 0
                "counts_off": np.nan_to_num(np.rint(made.counts_off.data)).ravel()[::3].astype(int).tolist(),
                "acceptance_off": [
                    float(f"{x:.7g}") for x in np.nan_to_num(made.acceptance_off.data).ravel()[::3]
                ],
            }
        )
    return rows


if __name__ == "__main__":
    content = {
        f.__name__: f() for f in (off_regions, off_centers, spectra, safe_masks, phases, cuts, adaptive_rings)
    }
    path = Path(__file__).with_suffix("").with_name("background_makers.json")
    path.write_text(json.dumps(content, separators=(",", ":")))
