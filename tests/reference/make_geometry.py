"""Write geometry.json with Gammapy 2.1: run in an environment that has it."""

import json
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.nddata import NoOverlapError
from gammapy.maps import Map, MapAxis, WcsGeom
from regions import Regions

GEOMS = [
    {"skydir": [0.0, 0.0], "frame": "galactic", "proj": "CAR", "binsz": [0.02, 0.02], "width": [10.0, 8.0]},
    {
        "skydir": [228.529, -59.157],
        "frame": "icrs",
        "proj": "CAR",
        "binsz": [0.02, 0.02],
        "width": [5.0, 5.0],
    },
    {"skydir": [83.633, 22.014], "frame": "icrs", "proj": "TAN", "binsz": [0.05, 0.025], "width": [3.0, 4.0]},
    {"skydir": [359.8, 75.0], "frame": "icrs", "proj": "AIT", "binsz": [0.11, 0.11], "width": [6.05, 5.0]},
    {"skydir": [10.0, -30.0], "frame": "galactic", "proj": "SIN", "binsz": [0.07, 0.07], "width": [4.0, 3.0]},
    {"skydir": [83.633, 22.014], "frame": "icrs", "proj": "TAN", "binsz": [0.03, 0.03], "width": [3.0, 2.0]},
]
REGIONS = [
    "icrs;circle(228.529,-59.157,0.4)",
    "galactic;circle(0.3,-0.2,1.1)\ngalactic;ellipse(1,1,0.5,0.8,30)",
    "icrs;annulus(83.633,22.014,0.3,0.7)",
    "icrs;box(83.9,22.3,0.5,0.9,20)\nicrs;point(83.1,21.5)",
    "icrs;polygon(359,74,3,74.5,2,76,358,75.5)",
    "galactic;-circle(10,-30,0.9)",
]
CUTOUTS = [  # shift of the position in deg, width, min_npix, odd_npix
    ([0.0131, 0.0073], 1.0, 1, False),
    ([0.5, -0.7], [1.3, 0.77], 1, False),
    ([-1.4, 1.31], 2.5, 3, True),
    ([0.711, 0.333], 0.001, 3, False),
    ([0.711, 0.333], 0.001, 1, True),
    ([0.2, 0.1], 30.0, 1, False),
    ([15.0, 3.0], 4.0, 1, False),
    ([3.9, 0.0], 4.0, 3, False),
]


def build(geom):
    lon, lat = geom["skydir"]
    keys = {key: tuple(geom[key]) for key in ("binsz", "width")}
    return WcsGeom.create(skydir=(lon, lat), frame=geom["frame"], proj=geom["proj"], **keys)


def cutout(geom, shift, width, min_npix, odd_npix):
    lon, lat = geom.center_skydir.spherical.lon.deg, geom.center_skydir.spherical.lat.deg
    position = SkyCoord(lon + shift[0], lat + shift[1], unit="deg", frame=geom.frame)
    out = {
        "lonlat": [lon + shift[0], lat + shift[1]],
        "width": width,
        "min_npix": min_npix,
        "odd_npix": odd_npix,
    }
    try:
        cut = geom.cutout(position, tuple(np.broadcast_to(width, 2)), min_npix=min_npix, odd_npix=odd_npix)
        out["npix"] = [int(n) for n in cut.data_shape[::-1]]
        out["crpix"] = [float(x) for x in cut.wcs.wcs.crpix]
    except NoOverlapError:
        out["npix"] = None
    return out


def geometry_case(spec):
    geom = build(spec)
    ny, nx = geom.data_shape
    picks = np.random.default_rng(1).integers(0, [nx, ny], (20, 2))
    sky = geom.pix_to_coord((picks[:, 0], picks[:, 1]))
    coarse = geom.to_binsz(0.2)
    solid_angle = geom.solid_angle().to_value("sr")
    masks = []
    for region in REGIONS:
        mask = geom.region_mask(list(Regions.parse(region, format="ds9"))).data
        masks.append([int(mask.sum()), int(np.flatnonzero(mask).sum())])
    return {
        **spec,
        "npix": [nx, ny],
        "crpix": [float(x) for x in geom.wcs.wcs.crpix],
        "picks": picks.tolist(),
        "lon": [float(x) for x in sky[0].to_value("deg")],
        "lat": [float(x) for x in sky[1].to_value("deg")],
        "solid_angle": [float(solid_angle[y, x]) for x, y in picks],
        "irf_npix": [int(n) for n in coarse.data_shape[::-1]],
        "cutouts": [cutout(geom, *case) for case in CUTOUTS],
        "region_masks": masks,
    }


def mask_case():
    """A random mask, looked up at the nearest pixel on a finer grid of another frame."""
    source = WcsGeom.create(skydir=(0.4, 0.3), frame="galactic", binsz=0.17, npix=(23, 17))
    target = WcsGeom.create(skydir=(266.4, -28.9), frame="icrs", binsz=0.08, npix=(70, 60))
    data = np.random.default_rng(7).random((17, 23)) > 0.4
    mask = Map.from_geom(source, data=data).interp_to_geom(target).data
    return {"sum": int(mask.sum()), "index_sum": int(np.flatnonzero(mask).sum())}


AXES = [
    (0.1, 10, 10, False),
    (0.08, 12, 14, False),
    (0.5, 50, 7, True),
    (0.01, 100, 5, True),
    (0.1, 100, 1, True),
]
RANGES = [
    (None, None),
    (0.1, None),
    (None, 10),
    (0.1, 100),
    (1, 10),
    (0.251188643150958, 100),
    (0.3, 50),
    (0.08, 12),
]


def energy_mask(axis, low, high):
    geom = WcsGeom.create(npix=1, axes=[axis])
    bounds = [None if bound is None else bound * u.TeV for bound in (low, high)]
    return geom.energy_mask(*bounds).data[:, 0, 0].astype(int).tolist()


def axis_case():
    out = []
    for low, high, nbin, per_decade in AXES:
        axis = MapAxis.from_energy_bounds(f"{low} TeV", f"{high} TeV", nbin, per_decade=per_decade)
        # not on an edge, where its rounding would decide
        values = np.array([0.001, 1.0001 * low, 0.11, 0.7, 1.03, 9.97, 0.9999 * high, 1e3])
        out.append(
            {
                "arguments": [f"{low} TeV", f"{high} TeV", nbin, per_decade],
                "edges": axis.edges.value.tolist(),
                "center": axis.center.value.tolist(),
                "values": values.tolist(),
                "index": axis.coord_to_idx(values).tolist(),
                "pixel": axis.coord_to_pix(values).tolist(),
                "energy_mask": [energy_mask(axis, *bounds) for bounds in RANGES],
            }
        )
    return out


if __name__ == "__main__":
    out = {
        "geometries": [geometry_case(spec) for spec in GEOMS],
        "regions": REGIONS,
        "mask": mask_case(),
        "axes": axis_case(),
        "ranges": RANGES,
    }
    Path(__file__).with_name("geometry.json").write_text(json.dumps(out, default=int) + "\n")
