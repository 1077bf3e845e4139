"""Every error that gammaflow raises.

An error says what was found, where, and what to do about it. It carries these facts
as attributes, and it survives pickling, so that what a worker met is what the user reads.
"""

from __future__ import annotations

from collections.abc import Sequence


class GammaflowError(Exception):
    """Base of all errors of the package.

    Parameters
    ----------
    found : str
        What was found, as a clause without a full stop.
    where : str
        The file, HDU, observation or key it was found in.
    hint : str
        What the user can do about it.
    """

    def __init__(self, found: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(found)
        self.found = found
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.found}" if self.where else self.found
        return f"{text}. {self.hint}" if self.hint else text

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.__dict__.copy()))

    def at(self, where: str) -> GammaflowError:
        """The same error with an outer place put before its own, e.g. the observation."""
        self.where = f"{where}: {self.where}" if self.where else where
        return self


def _rebuild(cls: type[GammaflowError], facts: dict[str, object]) -> GammaflowError:
    error = cls.__new__(cls)
    Exception.__init__(error, facts["found"])
    error.__dict__.update(facts)
    return error


class ConfigError(GammaflowError):
    """The configuration, or the way a command was called, is wrong; ``problems`` lists each thing by itself."""

    problems: tuple[str, ...] = ()


class DataError(GammaflowError):
    """An input file cannot be used; its observation is set aside."""


class MissingFileError(DataError):
    """A file that an index names is not there."""


class MissingHduError(DataError):
    """A file lacks an HDU, or an HDU lacks a column or header card."""


class CorruptFileError(DataError):
    """A file is truncated, or is not what its name says."""


class UnitError(DataError):
    """A quantity comes in a unit that cannot be converted to the one needed."""


class InvalidResponseError(DataError):
    """An instrument response holds values that mean nothing (NaN, infinities)."""


class NoGtiError(DataError):
    """An observation has no good time."""


class NoOverlapError(DataError):
    """An observation does not touch the map it should be reduced to."""


class NoOffRegionError(DataError):
    """An observation has no place where its background could be measured."""


class UnsupportedError(DataError):
    """The data are valid, but of a kind that is not handled."""


class GeometryError(GammaflowError):
    """Two geometries or axes do not fit together."""


class StackingError(GammaflowError):
    """Datasets cannot be stacked."""


class SchemaError(GammaflowError):
    """A dataset does not follow the schema; ``issues`` lists everything that is wrong."""

    def __init__(self, issues: Sequence[str], *, where: str = "", hint: str = "") -> None:
        lines = "".join(f"\n  - {issue}" for issue in issues)
        super().__init__(
            f"{len(issues)} departures from the dataset schema:{lines}\n", where=where, hint=hint
        )
        self.issues = tuple(issues)


class RunError(GammaflowError):
    """A run cannot go on."""


class RunMismatchError(RunError):
    """A run folder belongs to another configuration."""


class TooManyFailuresError(RunError):
    """More observations failed than the user allowed; ``failures`` holds their records."""

    failures: tuple[object, ...] = ()


class StorageError(RunError):
    """The results cannot be written: no space, no permission."""


class RunTimeoutError(RunError):
    """Something that was waited for did not come in time."""


class ModelError(ConfigError):
    """A model, or one of its parameters, is wrong or was used in a way that means nothing."""


class RunLockedError(RunError):
    """Another process is writing to the run folder."""


class RunInterruptedError(RunError):
    """The user, or the system, stopped the run; running again continues it."""


class WorkersLostError(RunError):
    """The workers that a task ran on died under it, one after the other."""


class ClusterError(RunError):
    """A scheduler cannot be reached, or has gone."""


class FitError(GammaflowError):
    """A fit cannot be made: of what is asked, something is not there or means nothing."""
