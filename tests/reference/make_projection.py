"""What the oracle has no case for, made by Gammapy: writes ``projection.json`` beside this file.

A background aligned with the horizon, a King profile, a background over offset, another projection, energy
dispersion over a migration axis, and the methods of the safe mask.

Run with Gammapy 2.1: ``GAMMAPY_DATA=... PYTHONPATH=. python tests/reference/make_projection.py``.
"""

import json
import logging
import os
import warnings
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from gammapy.data import DataStore
from gammapy.datasets import MapDataset
from gammapy.irf import Background2D, FoVAlignment, PSFKing
from gammapy.makers import MapDatasetMaker, SafeMaskMaker
from gammapy.maps import MapAxis, WcsGeom

from tests.reference import synthetic

warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)

HERE = Path(__file__).parent
DATA = Path(os.environ["GAMMAPY_DATA"])
N_SAMPLES = 150
CRAB = SkyCoord(83.63, 22.01, unit="deg")
MSH = SkyCoord(228.529, -59.157, unit="deg")


def summary(data, seed=3):
    """Shape, sums over each first axis, and values at sampled flat indices."""
    data = np.asarray(data, dtype=float)
    picks = np.sort(np.random.default_rng(seed).choice(data.size, min(N_SAMPLES, data.size), replace=False))
    return {
        "shape": list(data.shape),
        "sums": data.sum(axis=tuple(range(1, data.ndim))).tolist(),
        "max": float(data.max()),
        "index": picks.tolist(),
        "values": data.ravel()[picks].tolist(),
    }


def arrays(dataset, names):
    maps = {
        "counts": lambda d: d.counts.data,
        "mask_safe": lambda d: d.mask_safe.data,
        "background": lambda d: d.background.data,
        "exposure": lambda d: d.exposure.data,
        "psf": lambda d: d.psf.psf_map.quantity.to_value("sr-1"),
        "edisp": lambda d: d.edisp.edisp_map.data,
    }
    return {name: summary(maps[name](dataset)) for name in names}


def hess(obs_id):
    return DataStore.from_dir(DATA / "hess-dl3-dr1").obs(obs_id)


def cta():
    return DataStore.from_dir(DATA / "cta-1dc/index/gps").obs(110380)


def empty(
    center,
    binsz,
    width,
    proj="CAR",
    frame="icrs",
    migra=None,
    nbin=6,
    energies=("0.5 TeV", "50 TeV"),
    binsz_irf=0.5,
    true=("0.3 TeV", "70 TeV", 9),
):
    energy = MapAxis.from_energy_bounds(*energies, nbin=nbin)
    energy_true = MapAxis.from_energy_bounds(*true, name="energy_true")
    geom = WcsGeom.create(skydir=center, frame=frame, width=width, binsz=binsz, proj=proj, axes=[energy])
    return MapDataset.create(
        geom, energy_axis_true=energy_true, migra_axis=migra, binsz_irf=binsz_irf, name="reference"
    )


def altaz(obs_id, center):
    observation = hess(obs_id)
    # Else the longitude of these files is reversed, whatever the alignment
    observation.meta.optional["HDUVERS"] = "0.3"
    bkg = observation.bkg
    bkg._fov_alignment = FoVAlignment.ALTAZ
    observation.bkg = bkg
    dataset = MapDatasetMaker(selection=["background"]).run(empty(center, 0.04, (5, 4)), observation)
    return {"obs_id": obs_id, "center": [center.ra.deg, center.dec.deg], **arrays(dataset, ["background"])}


def king():
    energy_true = MapAxis.from_energy_edges(synthetic.ENERGY_TRUE_EDGES * u.TeV, name="energy_true")
    nodes = MapAxis.from_nodes(synthetic.OFFSET_NODES * u.deg, name="offset")
    tables = synthetic.king_tables()
    data = np.empty(tables["gamma"].shape, dtype=[("gamma", np.float32), ("sigma", np.float32)])
    for name, table in tables.items():
        data[name] = table
    observation = hess(23523)
    observation.psf = PSFKing([energy_true, nodes], data=data, unit={"gamma": u.one, "sigma": u.deg})
    dataset = MapDatasetMaker(selection=["psf"]).run(empty(CRAB, 0.1, (5, 4)), observation)
    return arrays(dataset, ["psf"])


def background_2d():
    energy = MapAxis.from_energy_edges(synthetic.ENERGY_EDGES * u.TeV, name="energy")
    offset = MapAxis.from_edges(synthetic.OFFSET_EDGES * u.deg, name="offset", interp="lin")
    out = {}
    for name, options in {
        "default": {},
        "no_padding": {"background_pad_offset": False},
        "no_filling": {"background_interp_missing_data": False},
        "oversampled": {"background_oversampling": 3},
    }.items():
        observation = hess(23523)
        observation.bkg = Background2D(
            [energy, offset], data=synthetic.background_2d_table(), unit="s-1 MeV-1 sr-1"
        )
        # One bin of the map reaches beyond the response
        reference = empty(CRAB, 0.1, (5, 4), energies=("0.5 TeV", "90 TeV"))
        dataset = MapDatasetMaker(selection=["background"], **options).run(reference, observation)
        out[name] = arrays(dataset, ["background"])["background"]
    return out


def projections():
    out = {}
    everything = ["counts", "mask_safe", "background", "exposure", "psf", "edisp"]
    for proj, frame, center in (
        ("TAN", "icrs", CRAB),
        ("AIT", "galactic", CRAB),
        ("SIN", "icrs", CRAB),
        ("CAR", "galactic", CRAB),
    ):
        observation = hess(23523)
        dataset = MapDatasetMaker().run(empty(center, 0.1, (5, 4), proj, frame), observation)
        dataset = SafeMaskMaker(methods=["aeff-default", "offset-max"], offset_max="2 deg").run(
            dataset, observation
        )
        out[f"{proj}-{frame}"] = {"proj": proj, "frame": frame, **arrays(dataset, everything)}
    return out


def migra():
    axis = MapAxis.from_bounds(0.2, 5, nbin=48, name="migra")
    out = {}
    for name, observation, center in (
        ("hess", hess(20282), MSH),
        ("cta", cta(), SkyCoord(0, 0, unit="deg", frame="galactic").icrs),
    ):
        dataset = MapDatasetMaker(selection=["edisp"]).run(
            empty(center, 0.1, (5, 4), migra=axis), observation
        )
        out[name] = arrays(dataset, ["edisp"])["edisp"]
    return out


def safe_masks():
    cases = []
    near = {"frame": "icrs", "lon": "83.9 deg", "lat": "22.4 deg"}
    for methods in (["aeff-max"], ["edisp-bias"], ["bkg-peak"]):
        for irfs in ("DL4", "DL3"):
            for options in (
                {},
                {"fixed_offset": "0.7 deg"},
                {"position": near},
                {"aeff_percent": 35, "bias_percent": 3},
            ):
                if methods == ["bkg-peak"] and options:
                    continue
                cases.append({"methods": methods, "irfs": irfs, **options})
    out = []
    wide = {"energies": ("0.015 TeV", "60 TeV"), "true": ("0.013 TeV", "80 TeV", 30)}
    for instrument in ("hess", "cta"):
        center = CRAB if instrument == "hess" else SkyCoord(0, 0, unit="deg", frame="galactic").icrs
        for migra_axis in (None, MapAxis.from_bounds(0.2, 5, nbin=160, name="migra")):
            for case in cases:
                if migra_axis is not None and (case["methods"] != ["edisp-bias"] or case["irfs"] == "DL3"):
                    continue
                observation = hess(23523) if instrument == "hess" else cta()
                # An odd number of pixels in both grids: the centre is in the middle of one
                reference = empty(center, 0.1, (4.1, 4.1), migra=migra_axis, nbin=40, binsz_irf=0.45, **wide)
                dataset = MapDatasetMaker().run(reference, observation)
                options = dict(case)
                if "fixed_offset" in options:
                    options["fixed_offset"] = u.Quantity(options["fixed_offset"])
                if "position" in options:
                    if instrument == "cta":
                        continue
                    p = options["position"]
                    options["position"] = SkyCoord(p["lon"], p["lat"], frame=p["frame"])
                masked = SafeMaskMaker(**options).run(dataset, observation)
                per_energy = masked.mask_safe.data.sum(axis=(1, 2)).tolist()
                if sum(per_energy) in (0, masked.mask_safe.data.size):
                    continue  # nothing to be seen
                out.append(
                    {
                        "instrument": instrument,
                        "migra": migra_axis is not None,
                        "options": case,
                        "safe": per_energy,
                    }
                )
    return out


def main():
    result = {
        "gammapy": "2.1",
        "altaz": [altaz(23523, CRAB), altaz(20136, MSH)],
        "king": king(),
        "background_2d": background_2d(),
        "projections": projections(),
        "migra": migra(),
        "safe_masks": safe_masks(),
    }
    (HERE / "projection.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
