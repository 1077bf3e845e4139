"""A small observation with analytic responses, and a map to reduce it to."""

import numpy as np

from gammaflow.data import GTI, EventList, FixedPointingInfo, Observation, Site, TimeReference
from gammaflow.datasets import MapDatasetGeometry
from gammaflow.irf import PSF3D, Background3D, EffectiveAreaTable2D, EnergyDispersion2D, IrfAxis
from gammaflow.maps import MapAxis, WcsGeom

RA, DEC = 83.63, 22.01
TRUE = IrfAxis.from_edges(np.geomspace(0.05, 200, 25), "energy_true", "log")
RECO = IrfAxis.from_edges(np.geomspace(0.08, 120, 13), "energy", "log")
OFFSET = IrfAxis.from_edges(np.linspace(0, 4, 5), "offset", "lin")
MIGRA = IrfAxis.from_edges(np.linspace(0.1, 2.5, 49), "migra", "lin")
RAD = IrfAxis.from_edges(np.linspace(0, 0.6, 41), "rad", "lin")
FOV = np.linspace(-4, 4, 17)
REFERENCE = TimeReference(53000.0, 0.0)


def aeff():
    area = 1e5 * TRUE.nodes[:, None] ** 0.7 * np.exp(-0.1 * OFFSET.nodes**2)
    return EffectiveAreaTable2D(
        [TRUE, OFFSET], area.astype(np.float32), meta={"LO_THRES": 0.3, "HI_THRES": 60.0}
    )


def edisp():
    migra = MIGRA.nodes[None, :, None]
    width = 0.12 + 0.05 * OFFSET.nodes
    bias = 1.0 + 0.3 * np.exp(-TRUE.nodes / 0.4)[:, None, None]
    density = np.exp(-0.5 * ((migra - bias) / width) ** 2) / width / np.sqrt(2 * np.pi)
    return EnergyDispersion2D([TRUE, MIGRA, OFFSET], density.astype(np.float32))


def psf():
    sigma = 0.05 + 0.05 * (TRUE.nodes[:, None, None] / 0.3) ** -0.3 * (1 + 0.1 * OFFSET.nodes[:, None])
    density = np.exp(-0.5 * (RAD.nodes / sigma) ** 2) / (2 * np.pi * np.radians(sigma) ** 2)
    return PSF3D([TRUE, OFFSET, RAD], density.astype(np.float32))


def bkg(alignment="RADEC"):
    lon = IrfAxis.from_edges(FOV, "fov_lon", "lin")
    lat = IrfAxis.from_edges(FOV, "fov_lat", "lin")
    x, y = lon.nodes[:, None], lat.nodes[None, :]
    # Lopsided, so that mistaken axes or signs are seen
    shape = np.exp(-0.15 * (x**2 + y**2) + 0.1 * x - 0.05 * y)
    rate = 1e-5 * RECO.nodes[:, None, None] ** -2.7 * shape
    return Background3D([RECO, lon, lat], rate.astype(np.float32), fov_alignment=alignment)


def events(n=2000, seed=4):
    rng = np.random.default_rng(seed)
    return EventList.from_arrays(
        {
            "RA": (RA + rng.normal(0, 1.0, n)).astype(np.float32),
            "DEC": (DEC + rng.normal(0, 1.0, n)).astype(np.float32),
            "ENERGY": (0.2 * rng.pareto(1.6, n) + 0.2).astype(np.float32),
            "TIME": np.sort(rng.uniform(0, 1000, n)),
        },
        REFERENCE,
    )


def observation(obs_id=7, ra=RA, dec=DEC, **parts):
    irfs = {"aeff": aeff(), "edisp": edisp(), "psf": psf(), "bkg": bkg()}
    irfs |= {name: parts.pop(name) for name in list(parts) if name in (*irfs, "rad_max")}
    defaults = {
        "pointing": FixedPointingInfo(ra, dec, alt=60.0, az=150.0),
        "gti": GTI([0.0], [1000.0], REFERENCE),
        "events": events(),
        "deadtime_fraction": 0.1,
        "site": Site(16.5, -23.27, 1835.0),
        "meta": {"TELESCOP": "TEST"},
    }
    return Observation.create(obs_id, **{**defaults, **parts}, irfs=irfs)


def geometry(binsz=0.1, width=(5, 4), nbin=6, proj="CAR", migra_axis=None, energies=("0.5 TeV", "50 TeV")):
    energy = MapAxis.from_energy_bounds(*energies, nbin=nbin)
    true = MapAxis.from_energy_bounds("0.3 TeV", "80 TeV", nbin=8, name="energy_true")
    geom = WcsGeom.create((RA, DEC), binsz=binsz, width=width, proj=proj, axes=[energy])
    return MapDatasetGeometry.create(geom, true, migra_axis=migra_axis, binsz_irf=0.5)
