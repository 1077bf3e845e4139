"""Small ON/OFF datasets, and what Gammapy 2.1 makes of them: writes ``on_off.json`` beside this script.

Run it in an environment with Gammapy. The numbers that go in stand in the file, too.
"""

from __future__ import annotations

import json
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from gammapy.datasets import MapDataset, MapDatasetOnOff, SpectrumDataset, SpectrumDatasetOnOff
from gammapy.irf import EDispKernelMap, PSFMap
from gammapy.maps import Map, MapAxis, RegionGeom, WcsGeom
from regions import CircleSkyRegion

ENERGY = MapAxis.from_energy_bounds("0.1 TeV", "10 TeV", nbin=4)
TRUE = MapAxis.from_energy_bounds("0.08 TeV", "12 TeV", nbin=3, name="energy_true")
RAD = MapAxis.from_bounds(0, 0.5, nbin=5, unit="deg", name="rad")
COARSE = MapAxis.from_energy_edges(ENERGY.edges[[0, 2, 4]])
CENTER = SkyCoord(83.6, 22.0, unit="deg")
REGION = CircleSkyRegion(SkyCoord(83.7, 22.05, unit="deg"), 0.4 * u.deg)


def rounded(values):
    return np.array([float(f"{v:.4g}") for v in np.ravel(values)]).reshape(np.shape(values))


def random_arrays(seed, image, irf, safe):
    """Random numbers for everything that a dataset holds."""
    rng = np.random.default_rng(seed)
    reco, true = (4, *image), (3, *image)
    return {
        "counts": rng.poisson(3.0, reco),
        "counts_off": rng.poisson(2.0, reco),
        "acceptance": rounded(1 + rng.random(reco)),
        "acceptance_off": rounded(4 + rng.random(reco)),
        "background": rounded(1 + rng.random(reco)),
        "mask_safe": np.broadcast_to(safe.reshape(-1, *(1,) * len(image)), reco)
        if safe is not None
        else rng.random(reco) < 0.7,
        "exposure": rounded(1e9 * (1 + rng.random(true))),
        "psf": rounded(rng.random((3, 5, *irf)) * 1000),
        "psf_exposure": rounded(1e9 * (1 + rng.random((3, *irf)))),
        "edisp": rounded(rng.random((3, 4, *irf)) / 4),
        "edisp_exposure": rounded(1e9 * (1 + rng.random((3, *irf)))),
    }


def make(arrays, geom, geom_irf, on_off):
    """A Gammapy dataset of such numbers; geometries are images or regions."""

    def map_of(name, axes, unit="", where=geom):
        target = where.to_cube(axes)
        return Map.from_geom(target, data=arrays[name].reshape(target.data_shape), unit=unit)

    kwargs = {
        "counts": map_of("counts", [ENERGY]),
        "mask_safe": map_of("mask_safe", [ENERGY]),
        "exposure": map_of("exposure", [TRUE], "m2 s"),
        "edisp": EDispKernelMap(
            map_of("edisp", [ENERGY, TRUE], where=geom_irf),
            Map.from_geom(
                geom_irf.to_cube([ENERGY.squash(), TRUE]),
                data=arrays["edisp_exposure"].reshape(3, 1, *geom_irf.data_shape[-2:]),
                unit="m2 s",
            ),
        ),
    }
    if not geom.is_region:
        kwargs["psf"] = PSFMap(
            map_of("psf", [RAD, TRUE], "sr-1", geom_irf),
            Map.from_geom(
                geom_irf.to_cube([RAD.squash(), TRUE]),
                data=arrays["psf_exposure"].reshape(3, 1, *geom_irf.data_shape[-2:]),
                unit="m2 s",
            ),
        )
    if not on_off:
        kind = SpectrumDataset if geom.is_region else MapDataset
        return kind(background=map_of("background", [ENERGY]), name="a", **kwargs)
    for name in ("counts_off", "acceptance", "acceptance_off"):
        kwargs[name] = map_of(name, [ENERGY])
    kind = SpectrumDatasetOnOff if geom.is_region else MapDatasetOnOff
    return kind(name="a", **kwargs)


def plain(values):
    """Nested lists, with nine digits: the numbers are float32."""
    values = np.asarray(values)
    if values.dtype.kind == "f":
        return np.array([float(f"{v:.9g}") for v in values.ravel()]).reshape(values.shape).tolist()
    return values.tolist()


def contents(dataset):
    """All numbers of a dataset."""
    out = {}
    names = (
        "counts",
        "counts_off",
        "acceptance",
        "acceptance_off",
        "alpha",
        "background",
        "mask_safe",
        "exposure",
    )
    for name in names:
        found = getattr(dataset, name, None)
        if found is not None:
            out[name] = plain(np.squeeze(found.data) if found.geom.is_region else found.data)
    if dataset.edisp is not None:
        out["edisp"] = plain(np.squeeze(dataset.edisp.edisp_map.data))
    if dataset.stat_type == "wstat":
        out["stat_array"] = plain(np.squeeze(np.nan_to_num(dataset.stat_array())))
        out["stat_sum"] = float(dataset.stat_sum())
        out["npred_background"] = plain(np.squeeze(dataset.npred_background().data))
    return out


def info(dataset):
    return {
        k: getattr(v, "value", v)
        for k, v in dataset.info_dict().items()
        if isinstance(v, int | float | u.Quantity)
    }


def main() -> None:
    geom = WcsGeom.create(skydir=CENTER, binsz=0.25, width=(2.0, 1.5), frame="icrs", proj="TAN")
    geom_irf = geom.to_binsz(0.5)
    region = RegionGeom.create(REGION, binsz_wcs=0.01 * u.deg)
    safe = np.array([False, True, True, True])
    out = {"gammapy": "2.1", "region": "icrs;circle(83.7,22.05,0.4)", "inputs": {}}
    datasets = {}
    for name, seed, kind, mask in (
        ("map_a", 1, "map", safe), ("map_b", 2, "map", None), ("spectrum_a", 3, "spectrum", safe),
        ("spectrum_b", 4, "spectrum", None),
    ):  # fmt: skip
        image, irf = ((6, 8), (3, 4)) if kind == "map" else ((), ())
        arrays = random_arrays(seed, image, irf, mask)
        out["inputs"][name] = {
            k: plain(v) for k, v in arrays.items() if kind == "map" or not k.startswith("psf")
        }
        geoms = (geom, geom_irf) if kind == "map" else (region, region)
        datasets[name] = [make(arrays, *geoms, on_off) for on_off in (True, False)]
    for kind in ("map", "spectrum"):
        for index, which in enumerate(("on_off", "cash")):
            a, b = datasets[f"{kind}_a"][index], datasets[f"{kind}_b"][index]
            results = {
                "itself": contents(a),
                "info": info(a),
                "to_image": contents(a.to_image()),
                "resample_energy_axis": contents(a.resample_energy_axis(COARSE)),
                "slice_by_energy": contents(a.slice_by_energy(0.4 * u.TeV, 4 * u.TeV)),
            }
            if kind == "map":
                results["downsample"] = contents(a.downsample(2))
                results["to_spectrum_dataset"] = contents(a.to_spectrum_dataset(REGION))
                results["containment"] = plain(
                    np.squeeze(a.to_spectrum_dataset(REGION, containment_correction=True).exposure.data)
                )
                if which == "cash":
                    results["pad"] = contents(a.pad(1))
            stacked = a.to_masked()
            stacked.stack(b)
            results["stack"] = contents(stacked)
            if kind == "map":
                del results["stack"]["edisp"]  # the mask is looked up in another way
            out[f"{kind}_{which}"] = results
    Path(__file__).with_name("on_off.json").write_text(json.dumps(out))


if __name__ == "__main__":
    main()
