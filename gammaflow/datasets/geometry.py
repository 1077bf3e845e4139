"""The geometry of a map dataset: one sky map, one coarser grid for the responses, and the axes of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gammaflow.datasets.box import Box
from gammaflow.datasets.dataset_geometry import (
    DatasetGeometry,
    array_shapes,
    axes_from_dict,
    check_axis_names,
)
from gammaflow.errors import GeometryError
from gammaflow.maps import MapAxis, WcsGeom

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

#: Pixel coordinates are rounded to this many decimals before a nearest pixel is chosen: centres of response
#: pixels often lie exactly on corners of map pixels, where round-off would otherwise decide.
PIXEL_DECIMALS = 6

#: Fewest pixels a cut response grid keeps along each side.
MIN_IRF_PIXELS = 3

DEFAULT_BINSZ_IRF = 0.2


def default_rad_axis() -> MapAxis:
    """The point spread function's default axis: 0 to 0.66 deg in 66 bins."""
    return MapAxis.from_bounds(0.0, 0.66, 66, "rad", "deg", "lin")


@dataclass(frozen=True)
class MapDatasetGeometry(DatasetGeometry):
    """Where the arrays of a `MapDataset` live. Immutable, hashable, picklable.

    Attributes
    ----------
    geom : WcsGeom
        The map, with the axis ``energy`` (reconstructed energy, TeV).
    energy_axis_true : MapAxis
        True energy, TeV, named ``energy_true``.
    rad_axis : MapAxis
        Distance from the source in the point spread function, deg.
    migra_axis : MapAxis or None
        Axis of the energy migration; None when the dispersion is kept as a kernel over ``energy``.
    geom_irf : WcsGeom
        Image on which point spread function and energy dispersion are known.
    """

    default_type: ClassVar[str] = "MapDataset"
    geom: WcsGeom
    energy_axis_true: MapAxis
    rad_axis: MapAxis
    migra_axis: MapAxis | None
    geom_irf: WcsGeom

    @classmethod
    def create(
        cls,
        geom: WcsGeom,
        energy_axis_true: MapAxis | None = None,
        rad_axis: MapAxis | None = None,
        migra_axis: MapAxis | None = None,
        binsz_irf: object = DEFAULT_BINSZ_IRF,
    ) -> MapDatasetGeometry:
        """Geometry of a whole map.

        Parameters
        ----------
        geom : WcsGeom
            With exactly one axis, ``energy``.
        energy_axis_true : MapAxis, optional
            The bins of ``energy`` when not given.
        rad_axis : MapAxis, optional
            0 to 0.66 deg in 66 bins when not given.
        migra_axis : MapAxis, optional
            Keep the energy dispersion over this axis instead of as a kernel.
        binsz_irf : float [deg], str or Quantity
            Pixel size of the response grid, which has the map's centre and rint(width / binsz_irf) pixels.
        """
        if [axis.name for axis in geom.axes] != ["energy"]:
            raise GeometryError(
                f"the map has the axes {[axis.name for axis in geom.axes]}, a dataset needs just 'energy'",
                where="MapDatasetGeometry.create",
                hint="Build the geometry with WcsGeom.create(..., axes=[energy_axis])",
            )
        if energy_axis_true is None:
            energy_axis_true = geom.axis("energy").rename("energy_true")
        check_axis_names(energy_axis_true, rad_axis, migra_axis, "MapDatasetGeometry.create")
        return cls(
            geom,
            energy_axis_true,
            rad_axis or default_rad_axis(),
            migra_axis,
            geom.to_image().to_binsz(binsz_irf),
        )

    @classmethod
    def from_geoms(
        cls, geom: WcsGeom, geom_exposure: WcsGeom, geom_psf: WcsGeom, geom_edisp: WcsGeom
    ) -> MapDatasetGeometry:
        """Geometry from those of the single maps.

        Parameters
        ----------
        geom, geom_exposure : WcsGeom
            The map, with the axis ``energy`` and with the axis ``energy_true``.
        geom_psf, geom_edisp : WcsGeom
            The response grid, with ``energy_true`` and ``rad``, and with ``energy_true`` and ``migra`` or
            ``energy``.

        Raises
        ------
        GeometryError
            When exposure and counts, or psf and edisp, are not on the same pixels.
        """
        pairs = (("exposure", geom_exposure, "counts", geom), ("edisp", geom_edisp, "psf", geom_psf))
        for name, mine, other_name, other in pairs:
            difference = mine.to_image().difference(other.to_image())
            if difference is not None:
                raise GeometryError(
                    f"{name} and {other_name} are not on the same pixels: {difference}",
                    where="MapDatasetGeometry.from_geoms",
                )
        true = geom_exposure.axis("energy_true")
        migra = [axis for axis in geom_edisp.axes if axis.name == "migra"]
        check_axis_names(true, geom_psf.axis("rad"), None, "MapDatasetGeometry.from_geoms")
        return cls(geom, true, geom_psf.axis("rad"), migra[0] if migra else None, geom_psf.to_image())

    @property
    def energy_axis(self) -> MapAxis:
        """Reconstructed energy."""
        return self.geom.axis("energy")

    @property
    def image(self) -> WcsGeom:
        """The map without its energy axis."""
        return self.geom.to_image()

    @property
    def parent(self) -> MapDatasetGeometry:
        """The whole geometry that this one was cut out of; itself when it was not."""
        if self.geom.parent is self.geom:
            return self
        return MapDatasetGeometry(
            self.geom.parent, self.energy_axis_true, self.rad_axis, self.migra_axis, self.geom_irf.parent
        )

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every variable of a `MapDataset` on this geometry, by name."""
        return array_shapes(
            self.energy_axis.nbin,
            self.energy_axis_true.nbin,
            self.rad_axis.nbin,
            self.edisp_axis.nbin,
            tuple(self.geom.shape_image),
            tuple(self.geom_irf.shape_image),
        )

    @property
    def cube_shapes(self) -> dict[str, tuple[int, ...]]:
        """The same as `shapes`."""
        return self.shapes

    @property
    def grids(self) -> dict[str, dict[str, Any]]:
        """FITS cards of the map and of the response grid."""
        return {"wcs": dict(self.geom.header), "wcs_irf": dict(self.geom_irf.header)}

    def with_axes(self, energy: MapAxis, energy_true: MapAxis | None = None) -> MapDatasetGeometry:
        """The same pixels with other axes of energy."""
        geom = self.image.to_cube([energy])
        return replace(self, geom=geom, energy_axis_true=energy_true or self.energy_axis_true)

    def cutout(
        self, position: SkyCoord | NDArray[np.float64], width: object, mode: str = "trim"
    ) -> MapDatasetGeometry:
        """The part around a position, map and response grid each on their own pixels.

        Parameters
        ----------
        position : SkyCoord or ndarray
            Centre; a unit vector (3,) is ICRS.
        width : float [deg], str or Quantity; or a pair of them
            Width, or widths along longitude and latitude.
        mode : {"trim", "strict"}
            What sticks out of the map is trimmed, or an error. The response grid is trimmed.

        Raises
        ------
        NoOverlapError
            When nothing of the map is left.
        GeometryError
            When something sticks out that must not.
        """
        return MapDatasetGeometry(
            self.geom.cutout(position, width, mode=mode),
            self.energy_axis_true,
            self.rad_axis,
            self.migra_axis,
            self.geom_irf.cutout(position, width, min_npix=MIN_IRF_PIXELS),
        )

    def box_in(self, parent: MapDatasetGeometry) -> Box:
        """The box of pixels that this geometry occupies in ``parent``.

        Raises
        ------
        GeometryError
            When it is neither ``parent`` nor a cutout of it; the error names the number that differs.
        """
        self.require_same_axes(parent)
        return Box.from_slices(self.image.slices_in(parent.image), self.geom_irf.slices_in(parent.geom_irf))

    def irf_centers_in_map(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Map pixel under the centre of each pixel of the response grid.

        The nearest pixel, floor(p + 0.5), of the pixel coordinate p rounded to 1e-6: a centre that lies on
        the edge between two map pixels belongs to the upper one, whatever the round-off.

        Returns
        -------
        y, x : ndarray of int, shape (ny_irf, nx_irf)
            Counted from this map's first pixel; may lie outside the map. Read only.
        """
        return _irf_centers(self.image, self.geom_irf)

    @property
    def whole_box(self) -> Box:
        """The box of all pixels."""
        (ny, nx), (ny_irf, nx_irf) = self.geom.shape_image, self.geom_irf.shape_image
        return Box((0, ny), (0, nx), (0, ny_irf), (0, nx_irf))

    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` makes an equal geometry of, JSON-able; links to a parent are left out."""
        return {**self.grids, **self.axes_to_dict()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> MapDatasetGeometry:
        """The geometry that `to_dict` described."""
        axes = axes_from_dict(data, ("energy", "energy_true", "rad"))
        return cls(
            geom_from_cards(data["wcs"], (axes["energy"],)),
            axes["energy_true"],
            axes["rad"],
            axes["migra"],
            geom_from_cards(data["wcs_irf"]),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # Cached shapes are not worth sending.
        return MapDatasetGeometry, (
            self.geom,
            self.energy_axis_true,
            self.rad_axis,
            self.migra_axis,
            self.geom_irf,
        )


def geom_from_cards(cards: Mapping[str, Any], axes: tuple[MapAxis, ...] = ()) -> WcsGeom:
    """The geometry of FITS cards as `WcsGeom.header` gives them; the same cards are parsed once a process."""
    return _image_from_cards(tuple(sorted(cards.items()))).to_cube(axes)


@lru_cache(maxsize=256)
def _image_from_cards(cards: tuple[tuple[str, Any], ...]) -> WcsGeom:
    return WcsGeom.from_header(dict(cards), where="WCS cards of the dataset")


@lru_cache(maxsize=32)
def _irf_centers(image: WcsGeom, geom_irf: WcsGeom) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    x, y = image.vectors_to_pix(geom_irf.pixel_vectors())
    out = []
    for p in (y, x):
        # A centre that cannot be projected lies on no pixel.
        nearest = np.floor(np.round(p, PIXEL_DECIMALS) + 0.5)
        index = np.where(np.isfinite(nearest), nearest, -1.0).astype(np.intp)
        index.flags.writeable = False
        out.append(index)
    return out[0], out[1]
