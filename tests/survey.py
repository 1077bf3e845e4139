"""A survey small enough to be simulated, spoilt and reduced in a second, and ways to spoil it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from gammaflow.data.simulation import simulate_survey

OBS_IDS = (100001, 100002, 100003)
SPOILT = 100002

CONFIG = """\
observations:
    datastore: {store}
datasets:
    type: 3d
    stack: {stack}
    geom:
        wcs:
            skydir: {{frame: galactic, lon: 330 deg, lat: 0 deg}}
            binsize: 0.2 deg
            width: {{width: 6 deg, height: 4 deg}}
            binsize_irf: 0.5 deg
        selection: {{offset_max: 2 deg}}
        axes:
            energy: {{min: 0.1 TeV, max: 100 TeV, nbins: 3}}
            energy_true: {{min: 0.05 TeV, max: 150 TeV, nbins: 6}}
    safe_mask:
        methods: [aeff-default, offset-max]
        parameters: {{offset_max: 2 deg}}
"""


def make_survey(folder: Path) -> Path:
    """Three observations of a minute each, in ``<folder>/survey``, and ``<folder>/config.yaml``."""
    store = folder / "survey"
    simulate_survey(store, len(OBS_IDS), seed=1, ontime=60.0)
    write_config(folder, store)
    return folder


def write_config(folder: Path, store: Path, stack: bool = True, more: str = "") -> Path:
    """A configuration for coarse maps of the survey."""
    path = folder / "config.yaml"
    path.write_text(CONFIG.format(store=store, stack=str(stack).lower()) + more)
    return path


def copy_survey(survey: Path, folder: Path) -> Path:
    """A survey of one's own, to spoil."""
    shutil.copytree(survey / "survey", folder / "survey")
    write_config(folder, folder / "survey")
    return folder


def events_file(store: Path, obs_id: int = SPOILT) -> Path:
    return store / "events" / f"sim_{obs_id}.fits"


def _edit(change: Callable[[fits.HDUList], None]) -> Callable[[Path], None]:
    def spoil(store: Path) -> None:
        path = events_file(store)
        with fits.open(path, memmap=False) as hdus:
            change(hdus)
            hdus.writeto(path, overwrite=True)

    return spoil


def truncate(store: Path) -> None:
    """Half of the file has not arrived."""
    path = events_file(store)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def remove(store: Path) -> None:
    """The index names a file that is not there."""
    events_file(store).unlink()


@_edit
def lose_hdu(hdus: fits.HDUList) -> None:
    """The HDU that the index names is not in the file."""
    hdus["EVENTS"].name = "PHOTONS"


@_edit
def wrong_unit(hdus: fits.HDUList) -> None:
    """Energies in a unit of length."""
    header = hdus["EVENTS"].header
    number = hdus["EVENTS"].columns.names.index("ENERGY") + 1
    header[f"TUNIT{number}"] = "m"


@_edit
def no_good_time(hdus: fits.HDUList) -> None:
    """The table of good times is empty."""
    hdus["GTI"] = fits.BinTableHDU(hdus["GTI"].data[:0], hdus["GTI"].header)


@_edit
def no_events(hdus: fits.HDUList) -> None:
    """Nothing was seen, which is no fault of the file."""
    hdus["EVENTS"] = fits.BinTableHDU(hdus["EVENTS"].data[:0], hdus["EVENTS"].header)


@_edit
def point_elsewhere(hdus: fits.HDUList) -> None:
    """The telescopes looked at another part of the sky."""
    hdus["EVENTS"].header["RA_PNT"] = 10.0
    hdus["EVENTS"].header["DEC_PNT"] = 20.0


def nan_response(store: Path) -> None:
    """One observation has an effective area of its own, with a hole of NaN."""
    own = store / "irfs" / "spoilt.fits"
    with fits.open(store / "irfs" / "cta_like.fits", memmap=False) as hdus:
        hdus["EFFECTIVE AREA"].data["EFFAREA"][0, 2, 20] = np.nan
        hdus.writeto(own)
    index = store / "hdu-index.fits.gz"
    table = Table.read(index)
    theirs = (table["OBS_ID"] == SPOILT) & (table["HDU_TYPE"] == "aeff")
    names = table["FILE_NAME"].tolist()
    table["FILE_NAME"] = [own.name if spoilt else name for name, spoilt in zip(names, theirs, strict=True)]
    hdu = fits.table_to_hdu(table)
    hdu.name = "HDU_INDEX"
    hdu.writeto(index, overwrite=True)
