"""The base of every section of the configuration: its errors, its text, its canonical form."""

from __future__ import annotations

import difflib
import json
import threading
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Union, get_args, get_origin

from astropy import units as u
from astropy.time import Time
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from gammaflow.config.parameters import ParametersError
from gammaflow.config.quantities import canonical_number, canonical_quantity, canonical_time
from gammaflow.errors import ConfigError

_building = threading.local()


@contextmanager
def _our_errors(section: type[Section]) -> Iterator[None]:
    """Turn what pydantic finds into a ConfigError.

    Only in the outermost section: pydantic builds nested ones through here, too, and collects their findings.
    """
    depth = getattr(_building, "depth", 0)
    _building.depth = depth + 1
    try:
        yield
    except ValidationError as error:
        if depth:
            raise
        raise config_error(section, error.errors()) from error
    finally:
        _building.depth = depth


class Section(BaseModel):
    """A section of the configuration.

    Every way of setting it is checked, also assignment; an unknown key is refused.
    """

    model_config = ConfigDict(
        arbitrary_types_allowed=True, validate_assignment=True, extra="forbid", validate_default=True
    )

    #: Lists in which the order says nothing; their canonical form is sorted.
    unordered: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, **data: Any) -> None:
        with _our_errors(type(self)):
            super().__init__(**data)

    def __setattr__(self, name: str, value: Any) -> None:
        with _our_errors(type(self)):
            super().__setattr__(name, value)

    def to_dict(self) -> dict[str, Any]:
        """Plain values as they stand in YAML: quantities as strings."""
        plain: dict[str, Any] = json.loads(self.model_dump_json())
        return plain

    def canonical(self) -> dict[str, Any]:
        """Plain values that are equal exactly when the configurations mean the same.

        Angles in deg, energies in TeV, time spans in s, each to 12 digits; times in UTC; sets sorted; keys
        sorted.
        """
        return {
            name: self._canonical_value(name, getattr(self, name)) for name in sorted(type(self).model_fields)
        }

    def _canonical_value(self, name: str, value: Any) -> Any:
        plain = canonical_value(value)
        return sorted(set(plain)) if name in self.unordered else plain

    def __eq__(self, other: object) -> bool:
        """Whether both mean the same: field by field would stumble over arrays of times."""
        return (
            type(self) is type(other) and isinstance(other, Section) and self.canonical() == other.canonical()
        )

    __hash__ = None  # type: ignore[assignment]  # it can be changed

    def __str__(self) -> str:
        # the root writes YAML; a section is what a debugger shows
        return f"{type(self).__name__}({self.to_dict()})"


def canonical_value(value: Any) -> Any:
    """The canonical form of one value of the configuration."""
    if isinstance(value, Section):
        return value.canonical()
    if isinstance(value, Time):
        return canonical_time(value)
    if isinstance(value, u.Quantity):
        return canonical_quantity(value)
    if isinstance(value, Mapping):
        return {str(key): canonical_value(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [canonical_value(item) for item in value]
    if isinstance(value, float):
        return canonical_number(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    raise ConfigError(f"{value!r} has no canonical form")


def config_error(root: type[Section], details: Sequence[ErrorDetails], where: str = "") -> ConfigError:
    """One error that tells everything that is wrong, each with its key path."""
    return problems_error([problem for detail in details for problem in _describe(root, detail)], where)


def problems_error(problems: Sequence[str], where: str = "") -> ConfigError:
    """One error of several problems."""
    error = ConfigError(
        problems[0]
        if len(problems) == 1
        else f"{len(problems)} problems:" + "".join(f"\n  - {p}" for p in problems),
        where=where or "configuration",
    )
    error.problems = tuple(problems)
    return error


def _describe(root: type[Section], detail: ErrorDetails) -> list[str]:
    """What pydantic found wrong with one value, in our words."""
    location = tuple(part for part in detail["loc"] if not _is_branch(part))
    path, found, kind = dotted(location), detail["input"], detail["type"]
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, ParametersError):
        return [f"{path}.{key}: {problem}" for key, problem in cause.problems]
    if kind in ("extra_forbidden", "no_such_attribute"):
        return [f"unknown key '{path}'{suggest(root, location)}"]
    if kind == "literal_error":
        message = f"allowed is {detail['ctx']['expected']}" + _near(str(found), detail["ctx"]["expected"])
    elif kind in ("model_type", "model_attributes_type"):
        message = "a section with keys of its own is needed"
    elif cause is not None:
        message = str(cause)
    else:
        message = detail["msg"][0].lower() + detail["msg"][1:]
    if isinstance(found, Mapping) or (isinstance(found, Section) and kind == "value_error"):
        return [
            f"{path}: {message}" if path else message
        ]  # the section is in the message, or too long for it
    return [f"{path}: found {found!r}; {message}" if path else f"found {found!r}; {message}"]


def dotted(location: Sequence[int | str]) -> str:
    """``datasets.geom.wcs`` of its parts, list positions in brackets."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def suggest(root: type[Section], location: Sequence[int | str]) -> str:
    """Which known key was meant: one of the same section, or the same name elsewhere."""
    *parents, key = (str(part) for part in location)
    paths = list(_paths(root))
    siblings = [path[-1] for path in paths if list(path[:-1]) == parents]
    near = difflib.get_close_matches(key, siblings, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{'.'.join([*parents, near[0]])}'?"
    elsewhere = [path for path in paths if path[-1] == key]
    if elsewhere:
        return f"; did you mean '{'.'.join(elsewhere[0])}'?"
    near = difflib.get_close_matches(key, [path[-1] for path in paths], n=1, cutoff=0.7)
    if near:
        return f"; did you mean '{'.'.join(next(path for path in paths if path[-1] == near[0]))}'?"
    return f"; allowed there: {', '.join(siblings)}" if siblings else ""


def _near(found: str, expected: str) -> str:
    options = [part.strip(" '") for part in expected.replace(" or ", ",").split(",")]
    near = difflib.get_close_matches(found, options, n=1, cutoff=0.6)
    return f", did you mean '{near[0]}'?" if near else ""


def _paths(section: type[Section], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, field in section.model_fields.items():
        yield (*prefix, name)
        for kind in _sections_in(field.annotation):
            yield from _paths(kind, (*prefix, name))


def _sections_in(annotation: Any) -> list[type[Section]]:
    if get_origin(annotation) in (Union, types.UnionType):
        return [kind for part in get_args(annotation) for kind in _sections_in(part)]
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, Section) else []


def _is_branch(part: int | str) -> bool:
    """Whether pydantic put the name of a union's branch, and no key, into an error's location."""
    return isinstance(part, str) and (
        part in ("int", "str", "float", "constrained-int", "constrained-str") or "[" in part
    )
