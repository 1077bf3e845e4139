"""Models in Gammapy's YAML, with their covariance in a table beside it."""

from __future__ import annotations

import datetime
import os
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from gammaflow.config import expand_path
from gammaflow.errors import ConfigError, ModelError
from gammaflow.modeling.covariance_file import covariance_text, read_covariance_text
from gammaflow.modeling.entries import check_keys
from gammaflow.modeling.model import Model
from gammaflow.modeling.models import Models
from gammaflow.modeling.parameter import Parameter


def to_yaml(data: dict[str, Any]) -> str:
    """YAML in block style, keys in the order given."""
    return yaml.safe_dump(data, default_flow_style=False, indent=4, sort_keys=False)


def models_from_yaml(text: str, path: str | Path | None = None) -> Models:
    """Models from YAML text.

    Parameters
    ----------
    text : str
        The YAML.
    path : str or Path, optional
        Folder in which files that it names are looked for first.

    Raises
    ------
    ConfigError
        Whatever is wrong, with the component it is in.
    """
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ModelError(f"is no YAML: {error}", hint="Check the indentation near the place named") from None
    if not isinstance(data, dict):
        raise ModelError(
            "holds no 'components:'", hint="A file of models starts with 'components:' and a list"
        )
    return models_from_dict(data, None if path is None else Path(path))


def models_from_dict(data: dict[str, Any], path: Path | None = None) -> Models:
    """Models from the mapping that a YAML file holds; links are made, the covariance is read."""
    data = {key: value for key, value in data.items() if key not in ("metadata", "checksum")}
    check_keys(data, ("components", "covariance"))
    components = data.get("components")
    if not isinstance(components, list):
        raise ModelError(
            "holds no 'components:'", hint="A file of models starts with 'components:' and a list"
        )
    models = []
    for number, component in enumerate(components):
        name = component.get("name") if isinstance(component, dict) else None
        where = f"component {number}" + (f" ({name!r})" if name else "")
        try:
            if not isinstance(component, dict) or "type" not in component:
                raise ModelError("has no type", hint="Add 'type: SkyModel' or 'type: FoVBackgroundModel'")
            models.append(Model.from_dict(_with_paths(component, path)))
        except ConfigError as error:
            raise error.at(where) from None
    collection = Models(models)
    _link(collection)
    collection.parameters.check()
    if data.get("covariance"):
        _read_covariance(collection, str(data["covariance"]), path)
    return collection


def read_models(filename: str | Path) -> Models:
    """Models of a YAML file; see `models_from_yaml`."""
    path = expand_path(str(filename))
    try:
        text = path.read_text()
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", where=str(path)) from None
    try:
        return models_from_yaml(text, path.parent)
    except ConfigError as error:
        raise error.at(str(path)) from None


def write_models(
    models: Models,
    filename: str | Path,
    overwrite: bool = False,
    full_output: bool = False,
    write_covariance: bool = True,
) -> None:
    """Write models, and their covariance beside them.

    Raises
    ------
    ModelError
        When a file is there already and ``overwrite`` is not set.
    """
    path = expand_path(str(filename))
    beside = path.with_name(path.stem + "_covariance.dat")
    with_covariance = write_covariance and len(models.parameters) > 0
    for target in (path, beside) if with_covariance else (path,):
        if target.exists() and not overwrite:
            raise ModelError("is there already", where=str(target), hint="Use overwrite=True or another name")
    data = _relative_to(models.to_dict(full_output), path.parent.resolve())
    if with_covariance:
        data["covariance"] = beside.name
        table = covariance_text(models.parameter_names, models.covariance.data)
        _replace_file(beside, lambda target: target.write_text(table, encoding="utf-8"))
    data["metadata"] = {"creator": f"gammaflow {_version()}", "date": _now(), "origin": None}
    text = to_yaml(data)
    _replace_file(path, lambda target: target.write_text(text))


def _link(models: Models) -> None:
    """Put one parameter in all places that bear the same label."""
    first: dict[str, tuple[Parameter, str]] = {}
    for model in models:
        for parameter in model.parameters:
            if parameter.link is None:
                continue
            if parameter.link not in first:
                first[parameter.link] = (parameter, model.name)
                continue
            shared, owner = first[parameter.link]
            if parameter is shared:
                continue
            where = f"model {model.name!r}: parameter {parameter.name!r}"
            if not parameter.unit.is_equivalent(shared.unit):
                raise ModelError(f"linked to one in {shared.unit}, but is in {parameter.unit}", where=where)
            value = parameter.quantity.to_value(shared.unit)
            if not np.isclose(value, shared.value, rtol=1e-9, atol=0.0):
                raise ModelError(
                    f"linked to that of {owner!r}, whose value is {shared.value:g}, not {value:g}",
                    where=where,
                    hint="Give both the same value",
                )
            model._replace(parameter, shared)


def _read_covariance(models: Models, name: str, path: Path | None) -> None:
    file = expand_path(name) if path is None or Path(name).is_absolute() else path / expand_path(name)
    if not file.is_file():
        raise ModelError(
            f"the covariance file {name!r} is not there",
            where=str(file),
            hint="Put it beside the models, or remove the line 'covariance:'",
        )
    try:
        text = file.read_text(encoding="utf-8")
        models.covariance = read_covariance_text(text, models.parameter_names)
    except UnicodeDecodeError as error:
        raise ModelError(f"is no covariance file: {error}", where=str(file)) from None
    except ConfigError as error:
        raise error.at(str(file)) from None


def _with_paths(entry: Any, path: Path | None) -> Any:
    """The entry with file names that are found beside the YAML file as full paths."""
    if not isinstance(entry, dict):
        return entry
    changed = {key: _with_paths(value, path) for key, value in entry.items()}
    name = changed.get("filename")
    if path is not None and isinstance(name, str) and not name.startswith("$") and (path / name).exists():
        changed["filename"] = str((path / name).resolve())
    return changed


def _relative_to(entry: Any, folder: Path) -> Any:
    """The entry with names of files that are in the folder without it."""
    if isinstance(entry, list):
        return [_relative_to(value, folder) for value in entry]
    if not isinstance(entry, dict):
        return entry
    changed = {key: _relative_to(value, folder) for key, value in entry.items()}
    name = changed.get("filename")
    if isinstance(name, str) and Path(name).is_absolute() and Path(name).parent == folder:
        changed["filename"] = Path(name).name
    return changed


def _replace_file(path: Path, write: Any) -> None:
    """Write beside the place and rename, so that no half-written file is ever seen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise ModelError(f"cannot be written: {error.strerror}", where=str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def _version() -> str:
    try:
        return version("gammaflow-survey")
    except PackageNotFoundError:
        return "unknown"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
