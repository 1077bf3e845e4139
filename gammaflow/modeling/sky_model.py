"""`SkyModel`: a source, its spectrum, shape and change with time."""

from __future__ import annotations

import copy
import uuid
from typing import Any, ClassVar, Self

from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.time import Time

from gammaflow.errors import ModelError
from gammaflow.modeling.covariance import Covariance
from gammaflow.modeling.entries import check_keys
from gammaflow.modeling.model import Model
from gammaflow.modeling.parameter import Parameter
from gammaflow.modeling.parameters import Parameters, parameter_lines
from gammaflow.modeling.spatial.base import SpatialModel
from gammaflow.modeling.spectral.base import SpectralModel
from gammaflow.modeling.temporal import TemporalModel

PARTS = ("spectral", "spatial", "temporal")
IRFS = ("exposure", "psf", "edisp")


class SkyModel(Model):
    """A source: the product of a spectral, a spatial and a temporal model.

    Parameters
    ----------
    spectral_model : SpectralModel
    spatial_model : SpatialModel, optional
    temporal_model : TemporalModel, optional
    name : str, optional
        By default eight random characters.
    apply_irf : dict, optional
        Which responses act on it: ``{"exposure": True, "psf": True, "edisp": True}``.
    datasets_names : list of str, optional
        The datasets it belongs to, None for all.

    Raises
    ------
    ModelError
        When the parts are of the wrong kind, or their units do not make a flux.
    """

    tag = ("SkyModel", "sky-model")
    apply_irf_default: ClassVar[dict[str, bool]] = dict.fromkeys(IRFS, True)

    def __init__(
        self,
        spectral_model: SpectralModel,
        spatial_model: SpatialModel | None = None,
        temporal_model: TemporalModel | None = None,
        name: str | None = None,
        apply_irf: dict[str, bool] | None = None,
        datasets_names: list[str] | str | None = None,
    ) -> None:
        super().__init__()
        self.name = make_name() if name is None else str(name)
        for part, kind, given in (
            ("spectral", SpectralModel, spectral_model),
            ("spatial", SpatialModel, spatial_model),
            ("temporal", TemporalModel, temporal_model),
        ):
            if not isinstance(given, kind) and (given is not None or part == "spectral"):
                raise ModelError(f"{given!r} given as {part} model", where=f"SkyModel {self.name!r}")
        self.spectral_model = spectral_model
        self.spatial_model = spatial_model
        self.temporal_model = temporal_model
        self.apply_irf = {**self.apply_irf_default, **(apply_irf or {})}
        unknown = set(self.apply_irf) - set(IRFS)
        if unknown:
            raise ModelError(
                f"apply_irf names {sorted(unknown)[0]!r}",
                where=f"SkyModel {self.name!r}",
                hint=f"There are {', '.join(IRFS)}",
            )
        self.datasets_names = [datasets_names] if isinstance(datasets_names, str) else datasets_names
        self._check_unit()

    def _check_unit(self) -> None:
        unit, needed = self.spectral_model.unit, u.Unit("TeV-1")
        if self.apply_irf["exposure"]:
            needed = needed / u.m**2 / u.s
        if self.spatial_model is not None:
            unit, needed = unit * self.spatial_model.unit, needed / u.sr
        if not unit.is_equivalent(needed):
            raise ModelError(
                f"its parts make a model in {unit} where {needed} is needed",
                where=f"SkyModel {self.name!r}",
                hint="A norm model needs a factor with a flux: a flux model, or a template with a flux",
            )

    @classmethod
    def create(  # type: ignore[override]  # tags of parts, as in Gammapy
        cls,
        spectral_model: str,
        spatial_model: str | None = None,
        temporal_model: str | None = None,
        **kwargs: Any,
    ) -> Self:
        """A source from the tags of its parts, ``SkyModel.create("pl", "point", name="crab")``.

        Parameters
        ----------
        spectral_model, spatial_model, temporal_model : str
            Tags.
        **kwargs
            Passed to `SkyModel`.
        """
        return cls(
            Model.create(spectral_model, "spectral"),
            Model.create(spatial_model, "spatial") if spatial_model else None,
            Model.create(temporal_model, "temporal") if temporal_model else None,
            **kwargs,
        )

    # --- parts ---------------------------------------------------------------------------------------

    @property
    def parts(self) -> dict[str, Model]:
        """The models it is made of, by kind."""
        models = {part: getattr(self, f"{part}_model") for part in PARTS}
        return {part: model for part, model in models.items() if model is not None}

    @property
    def parameters(self) -> Parameters:
        """Spectral, then spatial, then temporal ones."""
        return Parameters.from_stack(part.parameters for part in self.parts.values())

    @property
    def parameter_names(self) -> list[str]:
        """Names as the covariance file lists them, ``spectral.index``."""
        return [f"{kind}.{name}" for kind, part in self.parts.items() for name in part.parameter_names]

    @property
    def covariance(self) -> Covariance:
        """Covariance of the parameters, with what the parts know of theirs."""
        return Covariance.of(self, self.parameters, self.parts.values())

    @covariance.setter
    def covariance(self, covariance: Any) -> None:
        Covariance.assign(self, self.parameters, covariance, self.parts.values())

    @property
    def position(self) -> SkyCoord | None:
        """Position of the spatial model, None without one."""
        return None if self.spatial_model is None else self.spatial_model.position

    @property
    def frame(self) -> str | None:
        """Frame of the spatial model."""
        return None if self.spatial_model is None else self.spatial_model.frame

    @property
    def evaluation_radius(self) -> u.Quantity | None:
        """That of the spatial model."""
        return None if self.spatial_model is None else self.spatial_model.evaluation_radius

    def belongs_to(self, dataset_name: str) -> bool:
        """Whether the model is one of a dataset's."""
        return self.datasets_names is None or dataset_name in self.datasets_names

    def freeze(self, model_type: str | None = None) -> None:
        """Freeze all parameters, or those of one part."""
        for kind, part in self.parts.items():
            if model_type in (None, kind):
                part.freeze()

    def unfreeze(self, model_type: str | None = None) -> None:
        """Frozen status as by default, for all parameters or those of one part."""
        for kind, part in self.parts.items():
            if model_type in (None, kind):
                part.unfreeze()

    def _replace(self, old: Parameter, new: Parameter) -> None:
        for part in self.parts.values():
            part._replace(old, new)

    # --- values --------------------------------------------------------------------------------------

    def evaluate(
        self, lon: u.Quantity, lat: u.Quantity, energy: u.Quantity, time: Time | None = None
    ) -> u.Quantity:
        """Surface brightness (flux, without a spatial model) per energy at positions, energies and a time."""
        value = self.spectral_model(energy)
        if self.spatial_model is not None:
            dependent = self.spatial_model.is_energy_dependent
            value = value * self.spatial_model(lon, lat, *((energy,) if dependent else ()))
        if self.temporal_model is not None and time is not None:
            value = value * self.temporal_model(time)
        return value

    __call__ = evaluate

    # --- copies and files ----------------------------------------------------------------------------

    def copy(self, name: str | None = None) -> Self:
        """Independent copy, under another name unless one is given."""
        new = copy.deepcopy(self)
        new.name = make_name() if name is None else name
        return new

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """As it stands in Gammapy's YAML."""
        data: dict[str, Any] = {"name": self.name, "type": self.tag[0]}
        if self.apply_irf != self.apply_irf_default:
            data["apply_irf"] = dict(self.apply_irf)
        if self.datasets_names is not None:
            data["datasets_names"] = list(self.datasets_names)
        for part in self.parts.values():
            data.update(part.to_dict(full_output))
        return data

    @classmethod
    def _from_entry(cls, entry: dict[str, Any]) -> SkyModel:
        check_keys(entry, ("name", "type", "apply_irf", "datasets_names", *PARTS))
        if not entry.get("name"):
            raise ModelError("has no name", hint="Add 'name:'")
        if entry.get("spectral") is None:
            raise ModelError("has no spectral model", hint="Add 'spectral:' with a type and parameters")
        parts: dict[str, Any] = {}
        for kind in PARTS:
            if entry.get(kind) is not None:
                parts[f"{kind}_model"] = Model.from_dict({kind: entry[kind]})
        return cls(
            **parts,
            name=str(entry["name"]),
            apply_irf=entry.get("apply_irf"),
            datasets_names=entry.get("datasets_names"),
        )

    def __add__(self, other: Any) -> Any:
        from gammaflow.modeling.models import Models

        return Models([self]) + other

    def __repr__(self) -> str:
        parts = ", ".join(f"{kind}_model={part!r}" for kind, part in self.parts.items())
        return f"SkyModel({parts}, name={self.name!r})"

    def __str__(self) -> str:
        lines = [f"SkyModel {self.name!r}", f"  {'Datasets names':26}: {self.datasets_names}"]
        lines += [
            f"  {kind.capitalize() + ' model type':26}: {type(part).__name__}"
            for kind, part in self.parts.items()
        ]
        return "\n".join(
            [*lines, "  Parameters:", *(f"    {line}" for line in parameter_lines(self.parameters))]
        )


def make_name() -> str:
    """Eight random characters."""
    return uuid.uuid4().hex[:8]
