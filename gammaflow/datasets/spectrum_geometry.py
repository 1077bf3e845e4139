"""The geometry of a spectrum dataset: one region of the sky, and the axes of energy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, ClassVar

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
from gammaflow.maps import MapAxis, RegionGeom
from gammaflow.maps.region_geom import DEFAULT_BINSZ_WCS

_PIXEL = np.zeros((1, 1), dtype=np.intp)
_PIXEL.flags.writeable = False


@dataclass(frozen=True)
class SpectrumDatasetGeometry(DatasetGeometry):
    """Where the arrays of a `SpectrumDataset` live. Immutable, hashable, picklable.

    Attributes
    ----------
    geom : RegionGeom
        The region, with the axis ``energy`` (reconstructed energy, TeV).
    energy_axis_true : MapAxis
        True energy, TeV, named ``energy_true``.
    migra_axis : MapAxis or None
        Axis of the energy migration; None when the dispersion is kept as a kernel over ``energy``.
    """

    default_type: ClassVar[str] = "SpectrumDataset"
    geom: RegionGeom
    energy_axis_true: MapAxis
    migra_axis: MapAxis | None = None

    @classmethod
    def create(
        cls,
        geom: RegionGeom,
        energy_axis_true: MapAxis | None = None,
        migra_axis: MapAxis | None = None,
    ) -> SpectrumDatasetGeometry:
        """Geometry of a region.

        Parameters
        ----------
        geom : RegionGeom
            With exactly one axis, ``energy``.
        energy_axis_true : MapAxis, optional
            The bins of ``energy`` when not given.
        migra_axis : MapAxis, optional
            Keep the energy dispersion over this axis instead of as a kernel.
        """
        if [axis.name for axis in geom.axes] != ["energy"]:
            raise GeometryError(
                f"the region has the axes {[axis.name for axis in geom.axes]}, a dataset needs just 'energy'",
                where="SpectrumDatasetGeometry.create",
                hint="Build the geometry with RegionGeom.create(region, axes=[energy_axis])",
            )
        if energy_axis_true is None:
            energy_axis_true = geom.axis("energy").rename("energy_true")
        check_axis_names(energy_axis_true, None, migra_axis, "SpectrumDatasetGeometry.create")
        return cls(geom, energy_axis_true, migra_axis)

    @property
    def energy_axis(self) -> MapAxis:
        """Reconstructed energy."""
        return self.geom.axis("energy")

    @property
    def parent(self) -> SpectrumDatasetGeometry:
        """Itself: a region is never cut."""
        return self

    @property
    def whole_box(self) -> Box:
        """The one pixel."""
        return Box((0, 1), (0, 1), (0, 1), (0, 1))

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every variable of a `SpectrumDataset` on this geometry, by name."""
        return self._shapes(())

    @cached_property
    def cube_shapes(self) -> dict[str, tuple[int, ...]]:
        """The same as a map of one pixel."""
        return self._shapes((1, 1))

    def _shapes(self, pixels: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        return array_shapes(
            self.energy_axis.nbin, self.energy_axis_true.nbin, None, self.edisp_axis.nbin, pixels, pixels
        )

    @property
    def grids(self) -> dict[str, dict[str, Any]]:
        """The region as DS9 writes it."""
        return {"wcs": {"region": self.geom.ds9, "binsz_wcs": self.geom.binsz_wcs}}

    def box_in(self, parent: SpectrumDatasetGeometry) -> Box:
        """The one pixel.

        Raises
        ------
        GeometryError
            When ``parent`` is of another region or has other axes; the error names the number that differs.
        """
        self.require_same_axes(parent)
        difference = self.geom.region_difference(parent.geom)
        if difference is not None:
            raise GeometryError(difference, hint="Only spectra of the same region can be combined")
        return self.whole_box

    def irf_centers_in_map(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The one pixel: its responses are those of the region."""
        return _PIXEL, _PIXEL

    def with_axes(self, energy: MapAxis, energy_true: MapAxis | None = None) -> SpectrumDatasetGeometry:
        """The same region with other axes of energy."""
        geom = self.geom.with_axes([energy])
        return replace(self, geom=geom, energy_axis_true=energy_true or self.energy_axis_true)

    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` makes an equal geometry of, JSON-able."""
        return {**self.grids["wcs"], **self.axes_to_dict()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> SpectrumDatasetGeometry:
        """The geometry that `to_dict` described."""
        axes = axes_from_dict(data, ("energy", "energy_true"))
        return cls(region_from_attrs(data, (axes["energy"],)), axes["energy_true"], axes["migra"])

    def __reduce__(self) -> tuple[Any, ...]:
        # Cached shapes are not worth sending.
        return SpectrumDatasetGeometry, (self.geom, self.energy_axis_true, self.migra_axis)


def region_from_attrs(attrs: Mapping[str, Any], axes: tuple[MapAxis, ...]) -> RegionGeom:
    """The region that `SpectrumDatasetGeometry.grids` described; the same text is parsed once a process."""
    image = _region_from_text(str(attrs["region"]), float(attrs.get("binsz_wcs", DEFAULT_BINSZ_WCS)))
    return image.to_cube(axes)


@lru_cache(maxsize=256)
def _region_from_text(text: str, binsz_wcs: float) -> RegionGeom:
    return RegionGeom.create(text or None, binsz_wcs=binsz_wcs)
