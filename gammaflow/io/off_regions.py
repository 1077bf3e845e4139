"""The OFF regions of a spectrum in FITS: the tables of shapes of its OFF counts, and the entry in its ``meta``."""

from __future__ import annotations

from gammaflow.datasets import CountsDataset
from gammaflow.datasets.on_off import OFF_REGIONS
from gammaflow.errors import DataError
from gammaflow.maps import RegionGeom


def off_regions(dataset: CountsDataset) -> RegionGeom | None:
    """The OFF regions of a dataset; None where they are not known.

    Raises
    ------
    DataError
        When its ``meta`` holds what is no region.
    """
    text = dataset.meta.get(OFF_REGIONS)
    if not text:
        return None
    try:
        return RegionGeom.create(str(text))
    except DataError as error:
        raise error.at(f"dataset {dataset.name}, meta[{OFF_REGIONS!r}]") from None


def off_meta(on: RegionGeom, off: RegionGeom | None) -> dict[str, str]:
    """The entry of ``meta`` for the OFF region of a file of others; none where that is the ON region, or none."""
    if off is None or not off.regions or on.region_difference(off) is None:
        return {}
    return {OFF_REGIONS: off.ds9}
