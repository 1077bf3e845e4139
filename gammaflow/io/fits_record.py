"""What a dataset knows about itself that the formats of others have no place for, as one more HDU.

Other programs pass over it. What it says about the geometry counts where the maps say the same: it has the last
digits that header cards cut off, and what belongs to arrays that are not there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from astropy.io import fits

from gammaflow.datasets import CountsDataset
from gammaflow.errors import CorruptFileError
from gammaflow.io.fits_files import FitsDocument
from gammaflow.modeling import FoVBackgroundModel

#: Name of the extension.
RECORD = "GAMMAFLOW"


@dataclass(frozen=True)
class Record:
    """What goes with the arrays of a dataset; see `gammaflow.datasets.CountsDataset.from_arrays`."""

    name: str
    dataset_type: str
    livetime: float
    time_reference: str
    geometry: dict[str, Any]
    hdus: list[str]
    meta: dict[str, Any] = field(default_factory=dict)
    models: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, dataset: CountsDataset, hdus: Sequence[Any]) -> Record:
        """The record of a dataset that is written with these HDUs behind the record."""
        return cls(
            dataset.name,
            dataset.tag,
            dataset.livetime,
            dataset.time_reference,
            dataset.geometry.to_dict(),
            [hdu.name for hdu in hdus],
            dataset.meta,
            list(dataset.to_xarray().attrs.get("models", [])),
        )

    def background_model(self) -> FoVBackgroundModel | None:
        """The background model."""
        return FoVBackgroundModel.from_dict(self.models[0]) if self.models else None

    def require_hdus(self, document: FitsDocument) -> None:
        """CorruptFileError unless all HDUs are there: a file cut off between two of them looks complete."""
        missing = [name for name in self.hdus if name not in document]
        if missing:
            raise CorruptFileError(
                f"it is to hold {', '.join(missing)}, but does not: the file is truncated",
                where=document.path,
                hint="Get the file again: it was not copied whole",
            )

    def to_hdu(self) -> fits.BinTableHDU:
        """A table of one row, with the record as JSON."""
        text = json.dumps(asdict(self)).encode("ascii")
        column = fits.Column("RECORD", f"{len(text)}A", array=np.array([text]))
        return fits.BinTableHDU.from_columns([column], name=RECORD)

    @classmethod
    def read(cls, document: FitsDocument) -> Record | None:
        """The record of a file; None when another program wrote it."""
        if RECORD not in document:
            return None
        try:
            return cls(**json.loads(str(document.table(RECORD).column("RECORD")[0])))
        except (ValueError, TypeError, IndexError) as error:
            raise CorruptFileError(
                f"the record of the dataset cannot be read ({error})",
                where=document.where(RECORD),
                hint="Remove this HDU, or write the file again",
            ) from error
