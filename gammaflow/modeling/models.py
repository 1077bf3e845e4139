"""`Models`: the models of an analysis, and the files they are kept in."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, MutableSequence, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table

from gammaflow.errors import ModelError
from gammaflow.modeling.covariance import Covariance
from gammaflow.modeling.fov_background import FoVBackgroundModel
from gammaflow.modeling.model import Model
from gammaflow.modeling.parameters import Parameters
from gammaflow.modeling.sky_model import SkyModel

AnyModel = SkyModel | FoVBackgroundModel


class Models(MutableSequence[AnyModel]):
    """Sky models and background models of an analysis.

    Parameters
    ----------
    models : model or iterable of models, optional
        Their names must differ, and a dataset has at most one background model.

    Raises
    ------
    ModelError
        Two models of one name, two backgrounds of one dataset, or something that is no model.
    """

    def __init__(self, models: AnyModel | Iterable[AnyModel] | None = None) -> None:
        given = [models] if isinstance(models, Model) else list(models or ())
        self._models: list[AnyModel] = _checked(given)
        if isinstance(models, Models) and "_covariance" in models.__dict__:
            self.__dict__["_covariance"] = models.__dict__["_covariance"]

    # --- a list ----------------------------------------------------------------------------------------

    def __getitem__(self, key: Any) -> Any:
        """A model by position or name; several by a slice or a mask."""
        if isinstance(key, slice):
            return Models(self._models[key])
        if isinstance(key, np.ndarray) and key.dtype == bool:
            return Models([m for m, keep in zip(self._models, key, strict=True) if keep])
        return self._models[self.index(key)]

    def __setitem__(self, key: Any, model: Any) -> None:
        models = list(self._models)
        models[key if isinstance(key, slice) else self.index(key)] = model
        self._models = _checked(models)

    def __delitem__(self, key: Any) -> None:
        del self._models[key if isinstance(key, slice) else self.index(key)]

    def insert(self, index: int, model: AnyModel) -> None:
        """Put a model before a position."""
        models = list(self._models)
        models.insert(index, model)
        self._models = _checked(models)

    def __len__(self) -> int:
        return len(self._models)

    def __iter__(self) -> Iterator[AnyModel]:
        return iter(self._models)

    def __contains__(self, key: object) -> bool:
        return any(m is key or m.name == key for m in self._models)

    def __add__(self, other: Any) -> Models:
        return Models([*self, *([other] if isinstance(other, Model) else other)])

    def index(self, key: Any, start: int = 0, stop: int | None = None) -> int:
        """Position of a model given by itself, its name or its position."""
        if isinstance(key, int | np.integer):
            return int(key)
        for position, model in enumerate(self._models[:stop]):
            if position >= start and (model is key or model.name == key):
                return position
        raise ModelError(
            f"there is no model {getattr(key, 'name', key)!r}",
            hint=f"There are {', '.join(self.names) or 'none'}",
        )

    @property
    def names(self) -> list[str]:
        """Names, in order."""
        return [m.name for m in self._models]

    @property
    def sky_models(self) -> list[SkyModel]:
        """The sources."""
        return [m for m in self._models if isinstance(m, SkyModel)]

    @property
    def background_models(self) -> dict[str, FoVBackgroundModel]:
        """Dataset name to its background model."""
        return {m.datasets_names[0]: m for m in self._models if isinstance(m, FoVBackgroundModel)}

    @property
    def positions(self) -> SkyCoord:
        """Positions of the sources that have one, ICRS."""
        return SkyCoord([p.icrs for p in (m.position for m in self.sky_models) if p is not None])

    # --- parameters ------------------------------------------------------------------------------------

    @property
    def parameters(self) -> Parameters:
        """All parameters, model by model; a linked one stands in every place."""
        return Parameters.from_stack(m.parameters for m in self._models)

    @property
    def parameter_names(self) -> list[str]:
        """``model.spectral.index`` and so on, one for each of `parameters`."""
        return [f"{m.name}.{name}" for m in self._models for name in m.parameter_names]

    @property
    def covariance(self) -> Covariance:
        """Covariance of `parameters`."""
        return Covariance.of(self, self.parameters, self._models)

    @covariance.setter
    def covariance(self, covariance: Any) -> None:
        Covariance.assign(self, self.parameters, covariance, self._models)

    def freeze(self, model_type: str | None = None) -> None:
        """Freeze all parameters, or those of one kind: "spectral", "spatial", "temporal"."""
        for model in self._models:
            model.freeze(model_type)

    def unfreeze(self, model_type: str | None = None) -> None:
        """Frozen status as by default, for all parameters or those of one kind."""
        for model in self._models:
            model.unfreeze(model_type)

    @property
    def frozen(self) -> bool:
        """Whether every parameter is frozen."""
        return all(m.frozen for m in self._models)

    @contextmanager
    def restore_status(self, restore_values: bool = True) -> Iterator[Models]:
        """Inside the ``with`` block values and frozen status may change; afterwards they are as before."""
        with self.parameters.restore_status(restore_values):
            yield self

    def to_parameters_table(self) -> Table:
        """Table of all parameters: model, type, name, value, unit, error, limits, frozen, link, prior."""
        table = self.parameters.to_table()
        owners = [(m.name, name.split(".")[0]) for m in self._models for name in m.parameter_names]
        table.add_column([owner for owner, _ in owners], name="model", index=0)
        table.add_column([kind for _, kind in owners], name="type", index=1)
        return table

    def update_parameters_from_table(self, table: Table) -> None:
        """Values, errors, limits and frozen status from a table like that of `to_parameters_table`."""
        for parameter, row in zip(self.parameters, table, strict=True):
            if parameter.name != row["name"]:
                raise ModelError(f"row of {row['name']!r} where {parameter.name!r} stands")
            parameter.set_lim(float(row["min"]), float(row["max"]))
            parameter.value = float(row["value"])
            parameter.error = float(row["error"])
            parameter.frozen = bool(row["frozen"])

    # --- selection -------------------------------------------------------------------------------------

    def select(
        self,
        name_substring: str | None = None,
        datasets_names: str | Sequence[str] | None = None,
        tag: str | Sequence[str] | None = None,
        model_type: str | None = None,
        frozen: bool | None = None,
    ) -> Models:
        """The models that meet every condition given.

        Parameters
        ----------
        name_substring : str
            Part of the name.
        datasets_names : str or list of str
            Of which datasets; a model without datasets belongs to all.
        tag : str or list of str
            Tag of the model, or of its part ``model_type``.
        model_type : {"spectral", "spatial", "temporal"}
            Which part the tag is of.
        frozen : bool
            Whether all its parameters are frozen.
        """
        wanted = [datasets_names] if isinstance(datasets_names, str) else datasets_names
        tags = [tag] if isinstance(tag, str) else tag

        def fits(model: AnyModel) -> bool:
            part = model if model_type is None else getattr(model, f"{model_type}_model", None)
            return (
                (name_substring is None or name_substring in model.name)
                and (
                    wanted is None
                    or model.datasets_names is None
                    or bool(set(wanted) & set(model.datasets_names))
                )
                and (tags is None or (part is not None and bool(set(tags) & set(part.tag))))
                and (frozen is None or model.frozen == frozen)
            )

        return Models([m for m in self._models if fits(m)])

    def reassign(self, dataset_name: str, new_dataset_name: str) -> Models:
        """Copy with a dataset's models given to another."""
        new = self.copy()
        for model in new:
            if model.datasets_names is not None:
                model.datasets_names = [
                    new_dataset_name if n == dataset_name else n for n in model.datasets_names
                ]
        return Models(list(new))

    def copy(self) -> Self:
        """Independent copy; what is linked stays linked, maps and tables are shared."""
        return copy.deepcopy(self)

    # --- files -----------------------------------------------------------------------------------------

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """As it stands in Gammapy's YAML."""
        self.parameters.update_link_label()
        return {"components": [m.to_dict(full_output) for m in self._models]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Models:
        """From what `to_dict` gives; see `gammaflow.modeling.model_files`."""
        from gammaflow.modeling.model_files import models_from_dict

        return models_from_dict(data)

    def to_yaml(self, full_output: bool = False) -> str:
        """As YAML."""
        from gammaflow.modeling.model_files import to_yaml

        return to_yaml(self.to_dict(full_output))

    @classmethod
    def from_yaml(cls, text: str, path: str | Path | None = None) -> Models:
        """From YAML; files it names are looked for beside ``path`` first."""
        from gammaflow.modeling.model_files import models_from_yaml

        return models_from_yaml(text, path)

    @classmethod
    def read(cls, filename: str | Path) -> Models:
        """Read a YAML file, and the covariance file that it names."""
        from gammaflow.modeling.model_files import read_models

        return read_models(filename)

    def write(
        self,
        path: str | Path,
        overwrite: bool = False,
        full_output: bool = False,
        write_covariance: bool = True,
    ) -> None:
        """Write a YAML file, and the covariance beside it as ``<stem>_covariance.dat``."""
        from gammaflow.modeling.model_files import write_models

        write_models(self, path, overwrite, full_output, write_covariance)

    def __repr__(self) -> str:
        return f"Models({self.names})"

    def __str__(self) -> str:
        self.parameters.update_link_label()
        return "\n\n".join(f"Component {i}: {m}" for i, m in enumerate(self._models))


def _checked(models: list[Any]) -> list[AnyModel]:
    names: set[str] = set()
    backgrounds: dict[str, str] = {}
    for model in models:
        if not isinstance(model, SkyModel | FoVBackgroundModel):
            raise ModelError(
                f"{model!r} is neither a SkyModel nor a FoVBackgroundModel",
                hint="Wrap a spectral model: SkyModel(spectral_model, spatial_model)",
            )
        if model.name in names:
            raise ModelError(f"two models are named {model.name!r}", hint="Give them names of their own")
        names.add(model.name)
        if isinstance(model, FoVBackgroundModel):
            dataset = model.datasets_names[0]
            if dataset in backgrounds:
                raise ModelError(
                    f"dataset {dataset!r} has two background models, "
                    f"{backgrounds[dataset]!r} and {model.name!r}"
                )
            backgrounds[dataset] = model.name
    return models
