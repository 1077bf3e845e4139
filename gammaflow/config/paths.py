"""Paths as users write them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from gammaflow.errors import ConfigError

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def expand_path(path: str | Path, beside: Path | None = None) -> Path:
    """The path with ``~`` and environment variables such as ``$GAMMAPY_DATA`` put in.

    Parameters
    ----------
    path : str or path
        As it stands in the configuration.
    beside : path, optional
        The configuration's folder. A relative path is one from the working directory, as in Gammapy; if
        nothing is there, it is one from this folder.

    Raises
    ------
    ConfigError
        If a variable is not set.
    """
    text = str(path)

    def value(match: re.Match[str]) -> str:
        name = match.group(1) or match.group(2)
        if name not in os.environ:
            raise ConfigError(
                f"the environment variable {name} is not set",
                where=f"path {text!r}",
                hint=f"Set it, e.g. `export {name}=/path/to/it`, or write the path out.",
            )
        return os.environ[name]

    expanded = Path(_VARIABLE.sub(value, text)).expanduser()
    if beside is not None and not expanded.is_absolute() and not expanded.exists():
        return beside / expanded
    return expanded
