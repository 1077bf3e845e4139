"""What Gammapy 2.1 makes of regions: writes ``region_geom.json`` beside this script; run it where Gammapy is."""

from __future__ import annotations

import json
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from gammapy.maps import RegionGeom
from regions import Regions

REGIONS = {
    "circle": "icrs;circle(83.6333,22.0145,0.11)",
    "galactic circle": "galactic;circle(184.5,-5.7,0.11)",
    "annulus": "icrs;annulus(83.6333,22.0145,0.1,0.2)",
    "ellipse": "icrs;ellipse(83.6333,22.0145,0.05,0.1,30.0)",
    "rectangle": "icrs;box(83.6333,22.0145,0.1,0.2,30.0)",
    "two circles": "icrs;circle(83.6333,22.0145,0.1)\nicrs;circle(84.0,22.1,0.1)",
    "far north": "icrs;circle(10.0,85.0,0.5)",
}


def main() -> None:
    rng = np.random.default_rng(0)
    out = {}
    for name, text in REGIONS.items():
        parts = list(Regions.parse(text, format="ds9"))
        geom = RegionGeom.from_regions(parts, binsz_wcs=0.01 * u.deg)
        center = parts[0].center.icrs
        spread = 0.4 if name != "far north" else 1.0
        lat = center.dec.deg + spread * (rng.random(300) - 0.5)
        lon = center.ra.deg + spread * (rng.random(300) - 0.5) / np.cos(np.radians(lat))
        lon, lat = np.round(lon, 6), np.round(lat, 6)
        inside = geom.contains(SkyCoord(lon, lat, unit="deg"))
        _, weights = geom.get_wcs_coord_and_weights()
        out[name] = {
            "ds9": text,
            "solid_angle": geom.solid_angle().value if len(parts) == 1 else None,
            "lon": lon.tolist(),
            "lat": lat.tolist(),
            "inside": inside.astype(int).tolist(),
            "sum_of_weights": float(weights.sum()),
        }
    Path(__file__).with_name("region_geom.json").write_text(json.dumps({"gammapy": "2.1", "regions": out}))


if __name__ == "__main__":
    main()
