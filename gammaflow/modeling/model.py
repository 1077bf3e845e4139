"""`Model`: what spectral, spatial, temporal and sky models share, and the registry that finds them by tag."""

from __future__ import annotations

import copy
from typing import Any, ClassVar, Self

from gammaflow.errors import ModelError
from gammaflow.modeling.covariance import Covariance
from gammaflow.modeling.entries import check_keys, nearest, parameter_to_dict, read_parameters
from gammaflow.modeling.parameter import Parameter
from gammaflow.modeling.parameters import Parameters

REGISTRY: dict[str, dict[str, type[Model]]] = {}
"""Kind ("spectral", "spatial", "temporal", "" for whole models) to tag to class."""


class _Slot:
    """Class attribute of a parameter: gives the class its default and an instance its own."""

    def __init__(self, default: Parameter) -> None:
        self.default = default

    def __get__(self, instance: Model | None, owner: type[Model]) -> Parameter:
        return self.default if instance is None else instance._pars[self.default.name]


class Model:
    """Base of all models.

    A subclass lists its parameters as class attributes and has a ``tag``, or several; that registers it::

        class Bump(SpectralModel):
            tag = ("BumpSpectralModel", "bump")
            amplitude = Parameter("amplitude", "1e-12 cm-2 s-1 TeV-1")
            centre = Parameter("centre", "3 TeV")

            @staticmethod
            def evaluate(energy, amplitude, centre):
                return amplitude * np.exp(-(np.log(energy / centre) ** 2))

    Parameters
    ----------
    **parameters : float, str, Quantity or Parameter
        Values by name. A `Parameter` object is taken itself, which links it.

    Raises
    ------
    ModelError
        Unknown name, wrong unit, NaN, or a value outside the limits.
    """

    kind: ClassVar[str] = ""
    tag: ClassVar[tuple[str, ...] | list[str] | str] = ()
    default_parameters: Parameters = Parameters()
    _pars: dict[str, Parameter]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        inherited = {p.name: p for p in cls.default_parameters}
        for name, value in list(vars(cls).items()):
            if isinstance(value, Parameter):
                if value.name != name:
                    raise ModelError(
                        f"attribute {name!r} holds a parameter named {value.name!r}",
                        where=cls.__name__,
                        hint="Give both the same name",
                    )
                inherited[name] = value
                setattr(cls, name, _Slot(value))
        cls.default_parameters = Parameters(inherited.values())
        if "tag" in vars(cls):
            cls.tag = (cls.tag,) if isinstance(cls.tag, str) else tuple(cls.tag)
            for tag in cls.tag:
                known = REGISTRY.setdefault(cls.kind, {}).get(tag)
                # defining a class again, as in a notebook, replaces it
                if known is not None and known.__qualname__ != cls.__qualname__:
                    raise ModelError(
                        f"tag {tag!r} is that of {known.__qualname__}",
                        where=cls.__qualname__,
                        hint="Take another",
                    )
                REGISTRY[cls.kind][tag] = cls

    def __init__(self, **parameters: Any) -> None:
        known = self.default_parameters.names
        for name in parameters:
            if name not in known:
                raise ModelError(
                    f"unknown parameter {name!r}{nearest(name, known)}",
                    where=type(self).__name__,
                    hint=f"It has {', '.join(known) or 'none'}",
                )
        pars: dict[str, Parameter] = {}
        for default in self.default_parameters:
            value = parameters.get(default.name)
            if isinstance(value, Parameter):
                _same_kind(value, default, type(self).__name__)
                pars[default.name] = value
                continue
            pars[default.name] = default.copy()
            if value is not None:
                try:
                    pars[default.name].quantity = value
                except ModelError as error:
                    raise error.at(type(self).__name__) from None
        self.__dict__["_pars"] = pars

    def __setattr__(self, name: str, value: Any) -> None:
        pars = self.__dict__.get("_pars", {})
        if name not in pars:
            super().__setattr__(name, value)
        elif isinstance(value, Parameter):
            _same_kind(value, pars[name], type(self).__name__)
            pars[name] = value
        else:
            raise ModelError(
                f"{value!r} assigned to parameter {name!r}",
                where=type(self).__name__,
                hint=f"Set .{name}.value or .{name}.quantity; assign a Parameter to link it",
            )

    def __getattr__(self, name: str) -> Parameter:
        # only parameters made for this instance (piecewise norms) have no slot on the class
        pars = self.__dict__.get("_pars", {})
        if name in pars:
            return pars[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{nearest(name, pars)}")

    # --- parameters ---------------------------------------------------------------------------------

    @property
    def parameters(self) -> Parameters:
        """All parameters, in the order in which gradients list them."""
        return Parameters(self._pars.values())

    @property
    def parameter_names(self) -> list[str]:
        """Names that tell the parameters of this model apart, as the covariance file lists them."""
        return self.parameters.unique_parameters.names

    @property
    def covariance(self) -> Covariance:
        """Covariance of the parameters; without one, the diagonal of their errors."""
        return Covariance.of(self, self.parameters)

    @covariance.setter
    def covariance(self, covariance: Any) -> None:
        Covariance.assign(self, self.parameters, covariance)

    @property
    def frozen(self) -> bool:
        """Whether every parameter is frozen."""
        return all(p.frozen for p in self.parameters)

    def freeze(self) -> None:
        """Freeze all parameters."""
        self.parameters.freeze_all()

    def unfreeze(self) -> None:
        """Frozen status as the class has it."""
        for parameter, default in zip(self.parameters, self.default_parameters, strict=True):
            parameter.frozen = default.frozen

    def copy(self) -> Self:
        """Independent copy; parameters linked inside the model stay linked."""
        return copy.deepcopy(self)

    def _replace(self, old: Parameter, new: Parameter) -> None:
        """Put ``new`` where ``old`` stands."""
        for name, parameter in self._pars.items():
            if parameter is old:
                self._pars[name] = new

    # --- registry ------------------------------------------------------------------------------------

    @staticmethod
    def create(tag: str, model_type: str | None = None, *args: Any, **kwargs: Any) -> Any:
        """A model by its tag, e.g. ``Model.create("pl", "spectral", index=2.3)``.

        Parameters
        ----------
        tag : str
            Long or short tag.
        model_type : {"spectral", "spatial", "temporal", None}
            Kind; None for a whole model such as "sky-model".
        *args, **kwargs
            Passed to the class.
        """
        return find_model(tag, model_type or "")(*args, **kwargs)

    # --- files ----------------------------------------------------------------------------------------

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """As it stands in Gammapy's YAML; without ``full_output`` what is as by default is left out."""
        data: dict[str, Any] = {
            "type": self._file_tag(),
            "parameters": [
                parameter_to_dict(parameter, default, full_output)
                for parameter, default in zip(self.parameters, self._defaults(), strict=True)
            ],
        }
        return {self.kind: data} if self.kind else data

    def _file_tag(self) -> str:
        """The tag that files find this class by."""
        tag = self.tag[0] if self.tag else ""
        known = REGISTRY.get(self.kind, {}).get(tag)
        if known is None or known.__qualname__ != type(self).__qualname__:
            raise ModelError(
                "has no tag of its own, so that a file could not name it",
                where=type(self).__name__,
                hint=f"Give the class one: tag = ('{type(self).__name__}', 'short-name')",
            )
        return tag

    def _defaults(self) -> Parameters:
        return self.default_parameters

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Any:
        """The model that a YAML entry describes; on `Model` itself, of whatever kind it is."""
        kind, entry = cls._entry(data)
        found = find_model(entry.get("type"), kind)
        if not issubclass(found, cls):
            raise ModelError(f"type {entry['type']!r} is no {cls.__name__}")
        try:
            return found._from_entry(entry)
        except ModelError as error:
            raise error.at(str(entry["type"])) from None

    @classmethod
    def _entry(cls, data: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Kind and the innermost mapping of an entry such as ``{"spectral": {"type": ...}}``."""
        if not isinstance(data, dict):
            raise ModelError(f"{data!r} where a mapping with a type is needed")
        for kind in ("spectral", "spatial", "temporal"):
            if "type" not in data and kind in data:
                return kind, data[kind]
        return cls.kind, data

    @classmethod
    def _from_entry(cls, entry: dict[str, Any]) -> Any:
        """Build from the innermost mapping; models with more than parameters override it."""
        check_keys(entry, ("type", "parameters"))
        return cls(**cls._read_parameters(entry))

    @classmethod
    def _read_parameters(cls, entry: dict[str, Any]) -> dict[str, Parameter]:
        return read_parameters(entry.get("parameters"), cls.default_parameters)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{p.name}={p.quantity}' for p in self.parameters)})"

    def __str__(self) -> str:
        text = type(self).__name__ + "\n"
        return text + f"\n{self.parameters.to_table()}" if len(self.parameters) else text


def find_model(tag: Any, kind: str) -> type[Model]:
    """The class registered under a tag; `ModelError` names the nearest known tag otherwise."""
    known = REGISTRY.get(kind, {})
    if tag in known:
        return known[tag]
    what = f"{kind} model" if kind else "model"
    if tag is None:
        raise ModelError(
            f"a {what} without a type", hint=f"Add 'type:', one of {', '.join(_longest_tags(kind))}"
        )
    if not known:
        raise ModelError(
            f"unknown kind of model {kind!r}", hint="There are spectral, spatial and temporal ones"
        )
    raise ModelError(
        f"unknown {what} type {tag!r}{nearest(str(tag), known)}",
        hint=f"Known types: {', '.join(_longest_tags(kind))}",
    )


def _longest_tags(kind: str) -> list[str]:
    return sorted({cls.tag[0] for cls in REGISTRY.get(kind, {}).values()})


def _same_kind(parameter: Parameter, other: Parameter, where: str) -> None:
    if not parameter.unit.is_equivalent(other.unit):
        raise ModelError(
            f"parameter {parameter.name!r} in {parameter.unit.to_string('fits')!r} given for "
            f"{other.name!r} in {other.unit.to_string('fits')!r}",
            where=where,
        )
