"""Partial sums: what stacking carries from one step to the next."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from gammaflow.datasets import schema
from gammaflow.datasets.box import Box
from gammaflow.datasets.dataset_geometry import DatasetGeometry
from gammaflow.datasets.labelling import geometry_from_dict, time_variables
from gammaflow.datasets.observations import REFERENCE_TIME, ObservationTable
from gammaflow.errors import SchemaError

#: Sums that a partial carries, with their number types.
SUMS: dict[str, str] = {
    "counts": "int64",
    "counts_off": "int64",
    "acceptance": "float64",
    "background": "float64",
    "mask_safe": "bool",
    "exposure": "float64",
    "psf": "float64",
    "psf_exposure": "float64",
    "edisp": "float64",
    "edisp_exposure": "float64",
}


@dataclass(frozen=True)
class Partial:
    """Sums over some observations, on the part of the whole geometry that they touch.

    Attributes
    ----------
    parent : DatasetGeometry
        The whole geometry, the same for everything that is to be stacked.
    box : Box or None
        The pixels of the parent that ``sums`` cover, none of them when no bin was safe; None when nothing was
        added yet.
    sums : dict
        By the names of `SUMS`, all with two dimensions for pixels; ``psf`` and ``edisp`` are numerators, their
        exposures the denominators. Of ON and OFF counts, ``background`` is the sum of alpha times ``counts_off``.
    gti : ndarray of float64, shape (n, 2)
        Good time intervals of the observations in use, s after 2000-01-01 (TT), as they came.
    observations : ObservationTable
        One row an observation, times counted likewise, as they came.
    meta : dict or None
        What all operands agree on; None when nothing was added yet.
    dataset_type : str
        What was added, and will be made of the sums; empty when nothing was added yet.
    """

    parent: DatasetGeometry
    box: Box | None = None
    sums: dict[str, NDArray[Any]] = field(default_factory=dict)
    gti: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2)))
    observations: ObservationTable = field(default_factory=ObservationTable.empty)
    meta: dict[str, Any] | None = None
    dataset_type: str = ""

    @property
    def nbytes(self) -> int:
        """Memory of the sums."""
        return sum(a.nbytes for a in self.sums.values())

    def to_xarray(self) -> xr.Dataset:
        """The sums as they are, for writing; the geometry stands in the attributes."""
        layout = {**schema.LAYOUTS["MapDatasetOnOff"].variables, **schema.LAYOUTS["MapDataset"].variables}
        migra = self.parent.migra_axis is not None
        variables = {
            name: xr.Variable(layout[name].dims[1 if name == "edisp" and migra else 0], values)
            for name, values in self.sums.items()
        }
        variables |= time_variables(REFERENCE_TIME, (self.gti[:, 0], self.gti[:, 1]), self.observations)
        attrs = {
            "dataset_type": "Partial",
            "schema_version": schema.SCHEMA_VERSION,
            "geometry": self.parent.to_dict(),
            "box": None if self.box is None else self.box.to_list(),
            "meta": self.meta,
            "stacked_type": self.dataset_type,
        }
        return xr.Dataset(variables, attrs=attrs)

    @classmethod
    def from_xarray(cls, data: xr.Dataset, where: str = "") -> Partial:
        """What `to_xarray` made.

        Raises
        ------
        SchemaError
            When ``data`` are no partial sums.
        """
        issues = [
            f"attribute {name!r} is missing" for name in ("geometry", "box", "meta") if name not in data.attrs
        ]
        issues += [
            f"variable {n!r} is missing"
            for n in ("gti_start", "gti_stop", *schema.OBSERVATION_COLUMNS)
            if n not in data.variables
        ]
        sums = {name: data.variables[name].values for name in SUMS if name in data.variables}
        issues += [
            f"{n}: number type {a.dtype}, should be {SUMS[n]}" for n, a in sums.items() if a.dtype != SUMS[n]
        ]
        if issues:
            raise SchemaError(
                issues, where=where, hint="These are no partial sums of this version of gammaflow"
            )
        parent = geometry_from_dict(data.attrs["geometry"])
        box = None if data.attrs["box"] is None else Box.from_list(data.attrs["box"])
        gti = np.stack([data.variables["gti_start"].values, data.variables["gti_stop"].values], axis=1)
        rows = ObservationTable({n: data.variables[n].values for n in schema.OBSERVATION_COLUMNS})
        kind = data.attrs.get("stacked_type", "MapDataset")
        return cls(parent, box, sums, gti, rows, data.attrs["meta"], kind)
