"""A point spread function on the grid of a dataset, when a file has it on another one.

Fermi-LAT's is given for the whole sky at its own energies and distances from the source.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gammaflow.errors import GeometryError
from gammaflow.io.fits_maps import FileMap
from gammaflow.maps import MapAxis, WcsGeom


def psf_on_grid(found: FileMap, true: MapAxis, rad: MapAxis, geom: WcsGeom) -> NDArray[np.float64]:
    """A map over true energy, and over distance if it depends on it, on another grid.

    Linear in the distance from the source and in the logarithm of the energy, between the nodes of the file and
    constant beyond them; in the sky the nearest pixel.

    Parameters
    ----------
    found : FileMap
        With the axes ``energy_true`` and ``rad``; a weight has a single bin of ``rad``.
    true, rad : MapAxis
        The axes wanted.
    geom : WcsGeom
        The pixels wanted.

    Returns
    -------
    ndarray, shape (energy_true, rad, y, x)
        ``rad`` is of length one where the file's is.

    Raises
    ------
    GeometryError
        When the file's map does not cover a pixel.
    """
    values = np.asarray(found.ordered("energy_true", "rad"), dtype=np.float64)
    assert isinstance(found.geom, WcsGeom)  # who calls has looked
    x, y = found.geom.vectors_to_pix(geom.pixel_vectors())
    ny, nx = found.geom.shape_image
    # A pixel that has no place in the projection (all-sky maps of a pixel or two) belongs to the nearest.
    outside = (x < -1.0) | (x > nx) | (y < -1.0) | (y > ny)
    if outside.any():
        raise GeometryError(
            f"{int(outside.sum())} pixels of the response grid lie outside",
            where=found.where,
            hint="The point spread function must cover the grid of the energy dispersion",
        )
    column = np.clip(np.rint(np.nan_to_num(x)).astype(np.intp), 0, nx - 1)
    row = np.clip(np.rint(np.nan_to_num(y)).astype(np.intp), 0, ny - 1)
    values = _between(values, 0, np.log(found.axis("energy_true").nodes), np.log(true.center))
    if values.shape[1] > 1:
        values = _between(values, 1, found.axis("rad").nodes, rad.center)
    return values[:, :, row, column]


def _between(
    values: NDArray[np.float64], axis: int, nodes: NDArray[np.float64], wanted: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Linear interpolation along an axis, constant beyond its ends."""
    if nodes.size == 1:
        return np.repeat(values, wanted.size, axis=axis)
    low = np.clip(np.searchsorted(nodes, wanted, side="right") - 1, 0, nodes.size - 2)
    weight = np.clip((wanted - nodes[low]) / (nodes[low + 1] - nodes[low]), 0.0, 1.0)
    weight = weight.reshape([-1 if k == axis else 1 for k in range(values.ndim)])
    return values.take(low, axis) * (1.0 - weight) + values.take(low + 1, axis) * weight
