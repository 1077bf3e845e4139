"""The files of the simulated survey, byte for byte the same for the same survey."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from astropy.io import fits
from numpy.typing import NDArray

from gammaflow.data.simulation.responses import Responses
from gammaflow.data.simulation.sampling import SampledEvents
from gammaflow.data.simulation.schedule import REFERENCE, ZENITH, ScheduledObservation
from gammaflow.data.simulation.sky import SURVEY_CENTRE, Gaussian, Shell, Source
from gammaflow.data.simulation.sphere import offsets
from gammaflow.maps import WcsGeom

RESPONSE_FILE = "irfs/cta_like.fits"
EXCLUSION_FILE = "exclusion.fits"
HDU_INDEX, OBS_INDEX = "hdu-index.fits.gz", "obs-index.fits.gz"
_GADF = {
    "HDUCLASS": "GADF",
    "HDUDOC": "https://gamma-astro-data-formats.readthedocs.io",
    "HDUVERS": "0.3",
}
_SITE = {"GEOLON": -70.316345, "GEOLAT": -24.683429, "ALTITUDE": 2147.0}
_TARGET = "Simulated survey"
_HDU_NAMES = {
    "aeff": ("aeff_2d", "EFFECTIVE AREA"),
    "edisp": ("edisp_2d", "ENERGY DISPERSION"),
    "psf": ("psf_3gauss", "POINT SPREAD FUNCTION"),
    "bkg": ("bkg_3d", "BACKGROUND"),
}


def events_file(obs_id: int, compress: bool) -> str:
    """Name of an event file, relative to the store."""
    return f"events/sim_{obs_id:06d}.fits" + (".gz" if compress else "")


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def to_bytes(hdus: Sequence[Any], compress: bool) -> bytes:
    """A FITS file of some HDUs, gzipped without a time stamp if asked for."""
    buffer = io.BytesIO()
    fits.HDUList(list(hdus)).writeto(buffer)
    content = buffer.getvalue()
    return gzip.compress(content, compresslevel=4, mtime=0) if compress else content


def response_hdus(responses: Responses) -> list[Any]:
    """The four responses of all observations."""
    hdus = [fits.PrimaryHDU()]
    for hdu_type, (_, name) in _HDU_NAMES.items():
        hdu = getattr(responses, hdu_type).to_hdu()
        hdu.name = name
        hdus.append(hdu)
    return hdus


def observation_hdus(observation: ScheduledObservation, events: SampledEvents) -> list[Any]:
    """Events and good time intervals of one observation."""
    table = _table(
        "EVENTS",
        {
            "EVENT_ID": (np.arange(1, len(events) + 1, dtype=np.int64), "K", ""),
            "TIME": (events.time, "D", "s"),
            "RA": (_below(events.ra, 360.0), "E", "deg"),
            "DEC": (events.dec, "E", "deg"),
            "ENERGY": (events.energy, "E", "TeV"),
            "DETX": (events.detx, "E", "deg"),
            "DETY": (events.dety, "E", "deg"),
            "MC_ID": (events.mc_id, "I", ""),
        },
        {
            **_GADF,
            "HDUCLAS1": "EVENTS",
            **_observation_cards(observation),
            "RADECSYS": "ICRS",
            "EQUINOX": 2000.0,
            "EUNIT": "TeV",
            "EV_CLASS": "gamma",
            "ORIGIN": "gammaflow",
            "CREATOR": "gammaflow simulate",
            "TELESCOP": "CTA",
            "INSTRUME": "SIMULATED",
            "FOVALIGN": "RADEC",
            **_SITE,
            **REFERENCE.to_cards(),
        },
    )
    cards = {**_GADF, "HDUCLAS1": "GTI", **REFERENCE.to_cards()}
    columns = {"START": (observation.gti.start, "D", "s"), "STOP": (observation.gti.stop, "D", "s")}
    return [fits.PrimaryHDU(), table, _table("GTI", columns, cards)]


def hdu_index(obs_ids: Sequence[int], compress: bool) -> list[Any]:
    """The HDU index of the store."""
    rows = []
    for obs_id in obs_ids:
        folder, _, name = events_file(obs_id, compress).rpartition("/")
        rows += [(obs_id, kind, kind, folder, name, kind.upper()) for kind in ("events", "gti")]
        folder, _, name = RESPONSE_FILE.rpartition("/")
        rows += [(obs_id, kind, cls, folder, name, hdu) for kind, (cls, hdu) in _HDU_NAMES.items()]
    names = ("OBS_ID", "HDU_TYPE", "HDU_CLASS", "FILE_DIR", "FILE_NAME", "HDU_NAME")
    columns = {name: _column([row[i] for row in rows]) for i, name in enumerate(names)}
    cards = {**_GADF, "HDUCLAS1": "INDEX", "HDUCLAS2": "HDU"}
    return [fits.PrimaryHDU(), _table("HDU_INDEX", columns, cards)]


def obs_index(observations: Sequence[ScheduledObservation], n_events: Sequence[int]) -> list[Any]:
    """The observation index of the store."""
    units = {"ONTIME": "s", "LIVETIME": "s", "TSTART": "s", "TSTOP": "s"}
    units |= dict.fromkeys(("RA_PNT", "DEC_PNT", "ALT_PNT", "AZ_PNT"), "deg")
    rows = [_observation_cards(observation) for observation in observations]
    columns = {name: _column([row[name] for row in rows], units.get(name, "")) for name in rows[0]}
    columns["GLON_PNT"] = _column([observation.glon for observation in observations], "deg")
    columns["GLAT_PNT"] = _column([observation.glat for observation in observations], "deg")
    columns["ZEN_PNT"] = _column([ZENITH] * len(rows), "deg")
    columns["EVENT_COUNT"] = _column(list(n_events))
    cards = {
        **_GADF,
        "HDUCLAS1": "INDEX",
        "HDUCLAS2": "OBS",
        "OBSERVER": _TARGET,
        **_SITE,
        **REFERENCE.to_cards(),
    }
    return [fits.PrimaryHDU(), _table("OBS_INDEX", columns, cards)]


def exclusion_image(sources: Sequence[Source]) -> Any:
    """Image that is 1 where there is background only, 0 around the sources."""
    geom = WcsGeom.create(SURVEY_CENTRE, binsz=0.05, width=(15.0, 9.0), frame="galactic", proj="CAR")
    vectors = geom.pixel_vectors().reshape(3, -1)
    keep = np.ones(vectors.shape[1], dtype=bool)
    for source in sources:
        keep &= offsets(vectors, source.vector) > 0.35 + _extent(source)
    hdu = fits.PrimaryHDU(keep.reshape(geom.shape_image).astype(np.uint8))
    hdu.header.update({name: value for name, value in geom.header.items() if not name.startswith("NAXIS")})
    return hdu


def analysis_config(folder: Path) -> dict[str, Any]:
    """An analysis of the survey in the shape of Gammapy's configuration."""
    lon, lat = SURVEY_CENTRE
    return {
        "observations": {"datastore": str(folder.resolve()), "required_irf": ["aeff", "edisp", "psf", "bkg"]},
        "datasets": {
            "type": "3d",
            "stack": True,
            "geom": {
                "wcs": {
                    "skydir": {"frame": "galactic", "lon": f"{lon} deg", "lat": f"{lat} deg"},
                    "binsize": "0.02 deg",
                    "width": {"width": "10 deg", "height": "6 deg"},
                    "binsize_irf": "0.2 deg",
                },
                "selection": {"offset_max": "3 deg"},
                "axes": {
                    "energy": {"min": "0.1 TeV", "max": "100 TeV", "nbins": 12},
                    # four true bins a reconstructed one, with common edges: what Gammapy's kernels, which
                    # take each true bin at its centre, need with an energy resolution of 6 %
                    "energy_true": {"min": "0.0316227766 TeV", "max": "177.827941 TeV", "nbins": 60},
                },
            },
            "map_selection": ["counts", "exposure", "background", "psf", "edisp"],
            "background": {
                "method": "fov_background",
                "exclusion": str(folder.resolve() / EXCLUSION_FILE),
                "parameters": {"method": "scale"},
            },
            "safe_mask": {"methods": ["aeff-default", "offset-max"], "parameters": {"offset_max": "3 deg"}},
        },
    }


def to_yaml(content: Mapping[str, Any], comment: str) -> bytes:
    """YAML with a comment on top, keys in the order given."""
    return f"# {comment}\n{yaml.safe_dump(dict(content), sort_keys=False)}".encode()


def _observation_cards(observation: ScheduledObservation) -> dict[str, Any]:
    gti = observation.gti
    start, stop = (gti.time_reference.at(float(t)).utc for t in (gti.start[0], gti.stop[-1]))
    date_start, time_start = start.isot.split("T")
    date_stop, time_stop = stop.isot.split("T")
    return {
        "OBS_ID": observation.obs_id,
        "TSTART": float(gti.start[0]),
        "TSTOP": float(gti.stop[-1]),
        "ONTIME": gti.ontime,
        "LIVETIME": observation.livetime,
        "DEADC": observation.deadc,
        "OBS_MODE": "POINTING",
        "OBJECT": _TARGET,
        "RA_PNT": observation.ra,
        "DEC_PNT": observation.dec,
        "ALT_PNT": 90.0 - ZENITH,
        "AZ_PNT": 180.0,
        "DATE-OBS": date_start,
        "TIME-OBS": time_start,
        "DATE-END": date_stop,
        "TIME-END": time_stop,
        "N_TELS": 51,
    }


def _extent(source: Source) -> float:
    if isinstance(source.shape, Gaussian):
        return 2.5 * source.shape.sigma
    return source.shape.radius + source.shape.width if isinstance(source.shape, Shell) else 0.0


def _column(values: Sequence[Any], unit: str = "") -> tuple[NDArray[Any], str, str]:
    array = np.array(values)
    if array.dtype.kind == "U":
        return array, f"{array.dtype.itemsize // 4}A", unit
    return (
        (array.astype(np.int64), "K", unit)
        if array.dtype.kind == "i"
        else (array.astype(np.float64), "D", unit)
    )


def _table(name: str, columns: Mapping[str, tuple[NDArray[Any], str, str]], cards: Mapping[str, Any]) -> Any:
    fields = [
        fits.Column(column, format=code, unit=unit or None, array=values)
        for column, (values, code, unit) in columns.items()
    ]
    hdu = fits.BinTableHDU.from_columns(fields, name=name)
    hdu.header.update(cards)
    return hdu


def _below(angles: NDArray[np.float64], limit: float) -> NDArray[np.float32]:
    """In float32, with what rounds up to the limit put to 0."""
    rounded = angles.astype(np.float32)
    rounded[rounded >= limit] = 0.0
    return rounded
