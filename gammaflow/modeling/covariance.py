"""`Covariance`: the covariance matrix of a sequence of parameters, and its blocks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gammaflow.errors import ModelError
from gammaflow.modeling.parameter import Parameter
from gammaflow.modeling.parameters import Parameters


class Covariance:
    """Covariance matrix of parameters.

    Parameters
    ----------
    parameters : Parameters
        The parameters; a linked one may stand in it more than once, with equal rows.
    data : array (n, n), optional
        The matrix, in the parameters' own units; without it the diagonal of the squared errors.

    Raises
    ------
    ModelError
        When the matrix is not (n, n), not finite or not symmetric.
    """

    def __init__(self, parameters: Iterable[Parameter], data: ArrayLike | None = None) -> None:
        self.parameters = parameters if isinstance(parameters, Parameters) else Parameters(parameters)
        self.data = _diagonal(self.parameters) if data is None else _checked(data, len(self.parameters))

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return (len(self.parameters), len(self.parameters))

    @property
    def errors(self) -> NDArray[np.float64]:
        """Square roots of the diagonal, (n,)."""
        return np.sqrt(np.clip(np.diag(self.data), 0.0, None))

    @property
    def correlation(self) -> NDArray[np.float64]:
        """``C_ij / sqrt(C_ii C_jj)``, (n, n); 0 where a variance is 0."""
        outer = np.outer(self.errors, self.errors)
        return np.divide(self.data, outer, out=np.zeros_like(self.data), where=outer > 0)

    def get_subcovariance(self, parameters: Iterable[Parameter | str]) -> Covariance:
        """The block of some of the parameters, in their order."""
        index = [self.parameters.index(p) for p in parameters]
        return Covariance([self.parameters[i] for i in index], self.data[np.ix_(index, index)])

    def set_subcovariance(self, covariance: Covariance) -> None:
        """Put a block in, also into the further rows of a linked parameter.

        When the block differs from what was there, correlations of its parameters with others are set to 0:
        they belonged to another fit.
        """
        places = {id(p): column for column, p in reversed(list(enumerate(covariance.parameters)))}
        rows = [row for row, p in enumerate(self.parameters) if id(p) in places]
        source = [places[id(self.parameters[row])] for row in rows]
        block = covariance.data[np.ix_(source, source)]
        if not np.allclose(self.data[np.ix_(rows, rows)], block, rtol=1e-12, atol=0.0):
            self.data[rows, :] = 0.0
            self.data[:, rows] = 0.0
            self.data[np.ix_(rows, rows)] = block

    @classmethod
    def from_stack(cls, covariances: Iterable[Covariance]) -> Covariance:
        """Block-diagonal matrix of several; parameters linked between them get the block of the last."""
        blocks = list(covariances)
        stacked = cls(Parameters.from_stack(c.parameters for c in blocks))
        for block in blocks:
            stacked.set_subcovariance(block)
        return stacked

    @classmethod
    def of(cls, owner: Any, parameters: Parameters, parts: Iterable[Any] = ()) -> Covariance:
        """The covariance kept by a model or a collection, brought up to date with its parameters and parts.

        What was set stays as long as every error is the one it said; a parameter that has since got another
        error, or is new, stands with that error and without correlations.
        """
        kept: Covariance | None = owner.__dict__.get("_covariance")
        fresh = cls(parameters)
        if kept is not None:
            places = {id(p): i for i, p in reversed(list(enumerate(kept.parameters)))}
            rows = np.array([i for i, p in enumerate(parameters) if id(p) in places], dtype=np.intp)
            source = np.array([places[id(parameters[i])] for i in rows], dtype=np.intp)
            if rows.size:
                before, now = np.diag(kept.data)[source], np.diag(fresh.data)[rows]
                same = np.abs(before - now) <= 1e-9 * np.abs(now)
                rows, source = rows[same], source[same]
                fresh.data[np.ix_(rows, rows)] = kept.data[np.ix_(source, source)]
        for part in parts:
            if "_covariance" in part.__dict__:
                fresh.set_subcovariance(part.covariance)
        return fresh

    @classmethod
    def assign(cls, owner: Any, parameters: Parameters, data: Any, parts: Iterable[Any] = ()) -> None:
        """Keep a covariance with a model or a collection and its parts; set the errors of its parameters."""
        covariance = cls(parameters, data.data if isinstance(data, Covariance) else data)
        owner.__dict__["_covariance"] = covariance
        for parameter, error in zip(parameters, covariance.errors, strict=True):
            parameter.error = float(error)
        begin = 0
        for part in parts:
            end = begin + len(part.parameters)
            part.covariance = covariance.data[begin:end, begin:end]
            begin = end

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.float64]:
        return np.array(self.data, dtype=dtype, copy=True if copy is None else copy)

    def __repr__(self) -> str:
        return f"Covariance({self.parameters.names}, errors={self.errors})"


def _diagonal(parameters: Parameters) -> NDArray[np.float64]:
    """Squared errors; a parameter linked into two places has its covariance between them too."""
    errors = np.nan_to_num(np.array([p.error for p in parameters], dtype=np.float64))
    matrix = np.diag(errors**2)
    first: dict[int, int] = {}
    for row, parameter in enumerate(parameters):
        column = first.setdefault(id(parameter), row)
        matrix[row, column] = matrix[column, row] = errors[row] ** 2
    return matrix


def _checked(data: ArrayLike, size: int) -> NDArray[np.float64]:
    matrix = np.array(data, dtype=np.float64)
    if matrix.shape != (size, size):
        raise ModelError(
            f"a covariance of shape {matrix.shape} for {size} parameters",
            hint=f"Give one of ({size}, {size})",
        )
    if not np.all(np.isfinite(matrix)):
        raise ModelError("a covariance with NaN or infinite entries")
    scale = np.sqrt(np.outer(np.abs(np.diag(matrix)), np.abs(np.diag(matrix))))
    if np.any(np.abs(matrix - matrix.T) > 1e-6 * scale + 1e-300):
        raise ModelError("a covariance that is not symmetric")
    return matrix
