"""Small datasets with random contents, for the tests of datasets and of their files."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from gammaflow.data import GTI, TimeReference
from gammaflow.datasets import (
    CountsDataset,
    DatasetGeometry,
    MapDataset,
    MapDatasetGeometry,
    MapDatasetOnOff,
    ObservationRow,
    SpectrumDataset,
    SpectrumDatasetGeometry,
    SpectrumDatasetOnOff,
)
from gammaflow.maps import MapAxis, RegionGeom, WcsGeom

ENERGY = MapAxis.from_energy_bounds("0.1 TeV", "10 TeV", nbin=3)
ENERGY_TRUE = MapAxis.from_energy_bounds("0.08 TeV", "12 TeV", nbin=4, name="energy_true")
RAD = MapAxis.from_bounds(0.0, 0.5, 5, "rad", "deg", "lin")
MIGRA = MapAxis.from_bounds(0.2, 5.0, 6, "migra", "", "lin")
REFERENCE = TimeReference(51910.0, 0.000742870370370241)


def whole_geometry(
    *,
    binsz_irf: float = 1.0,
    migra: bool = False,
    frame: str = "galactic",
    proj: str = "CAR",
    lon: float = 0.0,
) -> MapDatasetGeometry:
    """A map of 16 x 12 pixels of 0.5 deg."""
    geom = WcsGeom.create(
        skydir=(lon, 0.0), frame=frame, proj=proj, width=(8.0, 6.0), binsz=0.5, axes=[ENERGY]
    )
    return MapDatasetGeometry.create(geom, ENERGY_TRUE, RAD, MIGRA if migra else None, binsz_irf)


def spectrum_geometry(*, migra: bool = False, radius: float = 0.1) -> SpectrumDatasetGeometry:
    """A circle around the Crab nebula."""
    region = RegionGeom.create(f"icrs;circle(83.6333,22.0145,{radius})", [ENERGY])
    return SpectrumDatasetGeometry.create(region, ENERGY_TRUE, MIGRA if migra else None)


def part_of(parent: MapDatasetGeometry, x: float, y: float, width: float) -> MapDatasetGeometry:
    """The cutout of ``parent`` around one of its pixels."""
    return parent.cutout(parent.geom.pix_to_vectors(x, y), width)


def random_dataset(
    geometry: DatasetGeometry,
    seed: int = 0,
    name: str = "",
    safe: float = 0.7,
    kind: type[CountsDataset] = MapDataset,
    **replaced: Any,
) -> Any:
    """A dataset with random numbers in every array, and a fraction ``safe`` of its bins safe."""
    rng = np.random.default_rng(seed)
    shapes = geometry.shapes
    edisp = rng.random(shapes["edisp"])
    arrays: dict[str, Any] = {
        "counts": rng.poisson(2.0, shapes["counts"]),
        "background": rng.gamma(2.0, 1.0, shapes["background"]),
        "mask_safe": rng.random(shapes["mask_safe"]) < safe,
        "exposure": 1e9 * rng.random(shapes["exposure"]),
        **(
            {"psf": 100 * rng.random(shapes["psf"]), "psf_exposure": 1e9 * rng.random(shapes["psf_exposure"])}
            if "psf" in shapes
            else {}
        ),
        "edisp": edisp / edisp.sum(axis=1, keepdims=True),
        "edisp_exposure": 1e9 * rng.random(shapes["edisp_exposure"]),
    }
    tstart = 1e8 + 2000.0 * float(rng.integers(0, 50))
    row = ObservationRow(
        obs_id=int(rng.integers(1, 10**6)),
        tstart=tstart,
        tstop=tstart + 1800.0,
        ontime=1700.0,
        livetime=1600.0 + float(rng.random()),
        ra_pnt=float(rng.random()),
        dec_pnt=float(rng.random()),
        zenith=20.0,
    )
    extra = {
        "gti": GTI([tstart, tstart + 1000.0], [tstart + 900.0, tstart + 1800.0], REFERENCE),
        "observations": row,
        "meta": {"instrument": "TEST", "run": seed},
    }
    if "counts_off" in kind.arrays:
        arrays |= {
            "counts_off": rng.poisson(2.0, shapes["counts"]),
            "acceptance": 0.5 + rng.random(shapes["counts"]),
            "acceptance_off": 3.0 + rng.random(shapes["counts"]),
        }
    arrays = {n: a for n, a in arrays.items() if n in kind.arrays}
    return kind.from_arrays(geometry, name or f"obs-{seed}", **{**arrays, **extra, **replaced})


def any_dataset(tag: str, seed: int = 0, **options: Any) -> Any:
    """A random dataset of a type, on the whole map or the one region."""
    types = (MapDataset, MapDatasetOnOff, SpectrumDataset, SpectrumDatasetOnOff)
    kind = {t.tag: t for t in types}[tag]
    migra = options.pop("migra", False)
    geometry = spectrum_geometry(migra=migra) if tag.startswith("Spectrum") else whole_geometry(migra=migra)
    return random_dataset(geometry, seed, kind=kind, **options)


@st.composite
def datasets(draw: st.DrawFn, parent: MapDatasetGeometry | None = None, **geometry: Any) -> MapDataset:
    """Any dataset on any part of a map."""
    whole = whole_geometry(**geometry) if parent is None else parent
    part = part_of(
        whole,
        draw(st.floats(0, 15, allow_nan=False)),
        draw(st.floats(0, 11, allow_nan=False)),
        draw(st.sampled_from([1.0, 2.3, 4.0, 20.0])),
    )
    return random_dataset(
        part, draw(st.integers(0, 2**32 - 1)), safe=draw(st.sampled_from([0.0, 0.05, 0.7, 1.0]))
    )
