"""What all datasets have in common: labelled arrays on the schema, times, models, and a statistic."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import xarray as xr
from astropy.io import fits
from numpy.typing import NDArray

from gammaflow.data import GTI
from gammaflow.datasets import formats, schema
from gammaflow.datasets.observations import REFERENCE_TIME, parse_reference
from gammaflow.errors import SchemaError, UnsupportedError
from gammaflow.modeling import FoVBackgroundModel, Models, Parameters, SkyModel, TemplateNPredModel

_TYPES: dict[str, type[Dataset]] = {}

#: How residuals are counted.
METHODS = ("diff", "diff/model", "diff/sqrt(model)")


class Dataset(ABC):
    """Data and a prediction that can be held against each other.

    The arrays live in ``data``, an `xarray.Dataset` on the schema of `gammaflow.datasets.schema`.

    Parameters
    ----------
    data : xarray.Dataset
        Following the schema; its attribute ``models`` is read when ``models`` is not given.
    models : FoVBackgroundModel, SkyModel, Models or iterable of models, optional
        See `models`.
    """

    tag: ClassVar[str] = ""
    stat_type: str = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "tag" in cls.__dict__:
            _TYPES[cls.tag] = cls

    def __init__(self, data: xr.Dataset, models: Any = None) -> None:
        if "models" in data.attrs:
            data = data.copy(deep=False)
            written = data.attrs.pop("models")
            if models is None and written:
                models = FoVBackgroundModel.from_dict(written[0])
        self.data = data
        self._background_model: FoVBackgroundModel | None = None
        self._sky_models: tuple[SkyModel, ...] = ()
        self.models = models

    @classmethod
    def from_xarray(cls, data: xr.Dataset, where: str = "") -> Self:
        """A dataset from labelled arrays, of the type that they say they are.

        Parameters
        ----------
        data : xarray.Dataset
            On the schema.
        where : str
            Named in errors, e.g. the path of the file.

        Raises
        ------
        SchemaError
            When ``data`` does not follow the schema; it lists every departure. Or when it is of another type.
        """
        schema.check(data, where)
        kind = dataset_type(str(data.attrs["dataset_type"]))
        if not issubclass(kind, cls):
            raise SchemaError([f"it holds a {kind.__name__}, not a {cls.__name__}"], where=where)
        return kind._from_checked(data)

    @classmethod
    @abstractmethod
    def _from_checked(cls, data: xr.Dataset) -> Self:
        """A dataset from arrays that were held against the schema already."""

    # What it holds

    def array(self, name: str) -> NDArray[Any] | None:
        """One array as plain numpy, or None when the dataset has none of this name."""
        variable = self.data.variables.get(name)
        return None if variable is None else variable.values

    def _labelled(self, name: str) -> xr.DataArray | None:
        return self.data[name] if name in self.data.variables else None

    def _label(self, values: NDArray[Any], like: str, name: str) -> xr.DataArray:
        """Values as they are labelled in the data under another name."""
        dims = schema.LAYOUTS[self.tag].variables[like].dims[0]
        coords = {n: c for n, c in self.data.coords.items() if set(c.dims) <= set(dims)}
        return xr.DataArray(values, dims=dims, coords=coords, name=name)

    @property
    def name(self) -> str:
        """Name of the dataset."""
        return str(self.data.attrs["name"])

    @property
    def meta(self) -> dict[str, Any]:
        """What else is known, e.g. the instrument."""
        return dict(self.data.attrs.get("meta", {}))

    @property
    def mask_safe(self) -> xr.DataArray | None:
        """Safe data range."""
        return self._labelled("mask_safe")

    @property
    def mask_fit(self) -> xr.DataArray | None:
        """Bins chosen for the fit, or None."""
        return self._labelled("mask_fit")

    @property
    def mask(self) -> xr.DataArray | None:
        """Safe and chosen for the fit."""
        safe, fit = self.mask_safe, self.mask_fit
        if safe is None or fit is None:
            return safe if fit is None else fit
        return safe & fit

    @property
    def time_reference(self) -> str:
        """The reference time that all times of the dataset are counted from (ISO, TT)."""
        for name in schema.TIMED:
            if name in self.data.variables:
                return str(self.data.variables[name].attrs["reference_time"])
        return REFERENCE_TIME

    @property
    def gti(self) -> GTI | None:
        """Good time intervals."""
        start, stop = self.array("gti_start"), self.array("gti_stop")
        if start is None or stop is None:
            return None
        return GTI(start, stop, parse_reference(self.time_reference))

    @property
    def ontime(self) -> float:
        """Sum of the good time intervals, s; NaN when there are none."""
        start, stop = self.array("gti_start"), self.array("gti_stop")
        return float("nan") if start is None or stop is None else float(np.sum(stop - start))

    # Models

    @property
    def models(self) -> Any:  # not the union: who sets a FoVBackgroundModel may count on getting one
        """The models, as they were set: a FoVBackgroundModel, or Models, or None.

        Set it to a model, to several, or to None. Of several those are kept that are for this dataset; when no
        background model is among them, that which is there remains.
        """
        return Models(self.all_models) if self._sky_models else self._background_model

    @models.setter
    def models(self, models: FoVBackgroundModel | SkyModel | Iterable[Any] | None) -> None:
        if models is None or isinstance(models, FoVBackgroundModel):
            background, sources = models, []
        else:
            if not isinstance(models, SkyModel) and (
                isinstance(models, str) or not isinstance(models, Iterable)
            ):
                raise UnsupportedError(
                    f"models of type {type(models).__name__}",
                    where=f"dataset {self.name}",
                    hint="Give a FoVBackgroundModel, a SkyModel, Models, or None",
                )
            given = Models(models)
            background = given.background_models.get(self.name, self._background_model)
            sources = [m for m in given.sky_models if m.belongs_to(self.name)]
        if background is not None and not self._takes_background_model:
            raise UnsupportedError(
                f"a background model, {background.name!r}",
                where=f"dataset {self.name}",
                hint=f"The background of a {self.tag} is not modelled",
            )
        template = next((m for m in sources if isinstance(m, TemplateNPredModel)), None)
        if template is not None and not self._takes_given_counts:
            raise UnsupportedError(
                f"a template of counts, {template.name!r}",
                where=f"dataset {self.name}",
                hint=f"Such a template is for maps, not for a {self.tag}",
            )
        self._background_model, self._sky_models = background, tuple(sources)

    _takes_background_model: ClassVar[bool] = True
    _takes_given_counts: ClassVar[bool] = False

    @property
    def background_model(self) -> FoVBackgroundModel | None:
        """Norm and tilt of the background."""
        return self._background_model

    @property
    def sky_models(self) -> tuple[SkyModel, ...]:
        """The sources."""
        return self._sky_models

    @property
    def parameters(self) -> Parameters:
        """Parameters of all models."""
        return Models(self.all_models).parameters

    @property
    def all_models(self) -> list[SkyModel | FoVBackgroundModel]:
        """The sources, and the background model if there is one."""
        return [*self._sky_models, *([self._background_model] if self._background_model else [])]

    def _with_models_of(self, other: Dataset, copied: bool = False) -> Self:
        """This dataset with the very models of another, or with copies, whatever names they are for."""
        if not copied:
            self._background_model, self._sky_models = other._background_model, other._sky_models
            return self
        models = Models(other.all_models).copy()  # together, so that what is linked stays linked
        self._background_model = next(iter(models.background_models.values()), None)
        self._sky_models = tuple(models.sky_models)
        return self

    # Data and prediction

    @abstractmethod
    def stat_array(self) -> xr.DataArray:
        """The fit statistic of each bin, whatever the mask."""

    @abstractmethod
    def _data_and_prediction(self) -> tuple[xr.DataArray, xr.DataArray]:
        """What residuals are counted between."""

    def stat_sum(self) -> float:
        """The fit statistic summed over the bins that are safe and chosen for the fit, without priors."""
        stat, mask = self.stat_array().values, self.mask
        return float(np.sum(stat if mask is None else stat[mask.values]))

    def residuals(self, method: str = "diff") -> xr.DataArray:
        """Data against prediction; NaN outside the mask, and where the quotient means nothing.

        Parameters
        ----------
        method : {"diff", "diff/model", "diff/sqrt(model)"}
        """
        if method not in METHODS:
            raise UnsupportedError(
                f"residuals by {method!r}",
                where=f"dataset {self.name}",
                hint=f"Known are {', '.join(METHODS)}",
            )
        data, model = self._data_and_prediction()
        difference = data.values - model.values
        if method != "diff":
            below = model.values if method == "diff/model" else np.sqrt(model.values)
            out = np.full(difference.shape, np.nan)
            difference = np.divide(difference, below, out=out, where=below > 0)
        if self.mask is not None:
            difference = np.where(self.mask.values, difference, np.nan)
        return model.copy(data=difference).rename("residuals")

    # Files

    def to_xarray(self) -> xr.Dataset:
        """The dataset as it is stored: ``data`` with the background model in its attributes.

        Sources are no part of a dataset at rest: they are written to a file of their own.
        """
        data = self.data.copy(deep=False)
        data.attrs = {k: v for k, v in self.data.attrs.items() if k != "models"}
        if self._background_model is not None:
            data.attrs["models"] = [self._background_model.to_dict()]
        return data

    def to_dict(self, filename: str | None = None) -> dict[str, str]:
        """The entry of the dataset in a ``datasets.yaml``: name, type and file."""
        return {"name": self.name, "type": self.tag, "filename": filename or f"{self.name}.zarr"}

    @classmethod
    def from_dict(cls, data: dict[str, str], folder: str | Path = ".") -> Self:
        """Read the dataset that an entry of a ``datasets.yaml`` names, relative to a folder.

        Raises
        ------
        SchemaError
            When the file holds another type than the entry says.
        """
        path = Path(folder) / data["filename"]
        dataset = cls.read(path)
        if dataset.tag != data.get("type", dataset.tag):
            raise SchemaError([f"it holds a {dataset.tag}, not a {data['type']}"], where=str(path))
        dataset.data.attrs["name"] = data.get("name", dataset.name)
        return dataset

    def write(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write to a file, with the background model; the ending says the format.

        ====================  ==================================================================================
        ending                what is written
        ====================  ==================================================================================
        ``.zarr``             a Zarr group; every type
        ``.fits .fits.gz``    FITS as Gammapy has it: GADF sky maps, or a GADF table of flux points; every type
        ``.pha``              OGIP spectra (PHA, and ARF, RMF and BKG beside it); ON/OFF spectra
        ``.ecsv``             a GADF table of flux points as text; flux points
        ====================  ==================================================================================

        Parameters
        ----------
        path : str or Path
            The file. More endings may be registered, see `gammaflow.datasets.formats`.
        overwrite : bool
            Replace what is there.

        Raises
        ------
        UnsupportedError
            When the ending is not known, or the dataset has no place in the format.
        StorageError
            When it cannot be written: something is there, no space, no permission.
        """
        formats.writer(path)(self, Path(path), overwrite)

    def to_hdulist(self) -> fits.HDUList:
        """The HDUs of the FITS file that `write` makes of counts; UnsupportedError for flux points."""
        return formats.hdu_format()[1](self)

    @classmethod
    def from_hdulist(cls, hdulist: fits.HDUList, name: str | None = None) -> Self:
        """The dataset of counts that HDUs hold, as `to_hdulist` or Gammapy makes them; errors as for `read`."""
        return cls._named(formats.hdu_format()[0](hdulist), name, "HDU list")

    @classmethod
    def read(cls, path: str | Path, name: str | None = None) -> Self:
        """Read from a file; the ending says the format, see `write`.

        FITS files may be those of others: sky maps, PHA files of ON/OFF spectra (with the ARF, RMF and BKG files that
        they name), tables of flux points.

        Parameters
        ----------
        path : str or Path
            The file.
        name : str, optional
            Of the dataset; as the file has it when not given.

        Raises
        ------
        MissingFileError, MissingHduError, CorruptFileError, UnitError
            When there is no such file, it lacks something or is damaged, or units are of another kind.
        UnsupportedError
            When the ending is not known, or the file holds what cannot be used here.
        SchemaError
            When it holds another type than that of this class.
        """
        return cls._named(formats.reader(path)(Path(path)), name, str(path))

    @classmethod
    def _named(cls, dataset: Any, name: str | None, where: str) -> Self:
        """What was read, if it is of this type, under the name that was asked for."""
        if not isinstance(dataset, cls):
            raise SchemaError([f"it holds a {type(dataset).__name__}, not a {cls.__name__}"], where=where)
        if name is not None:
            dataset.data.attrs["name"] = str(name)
        return dataset


def dataset_type(tag: str) -> type[Dataset]:
    """The class of a type of dataset, by the name that the schema gives it."""
    return _TYPES[tag]
