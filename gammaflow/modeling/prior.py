"""Priors: the term -2 ln p that a parameter adds to the fit statistic, with its derivatives."""

from __future__ import annotations

import difflib
import math
from typing import Any, ClassVar

import numpy as np
from scipy.special import gammaln

from gammaflow.errors import ModelError


class Prior:
    """Base of the priors; a subclass with a ``tag`` registers itself.

    A prior is a function of the parameter's value in the parameter's own unit. Its numbers are
    given as keyword arguments, plus ``weight``, which multiplies the term.

    Parameters
    ----------
    weight : float
        Multiplies the term.
    **numbers : float
        The numbers of the density, by name.
    """

    tag: ClassVar[str] = ""
    defaults: ClassVar[dict[str, float]] = {}
    registry: ClassVar[dict[str, type[Prior]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.tag:
            Prior.registry[cls.tag] = cls

    def __init__(self, weight: float = 1.0, **numbers: float | str) -> None:
        unknown = set(numbers) - set(self.defaults)
        if unknown:
            raise ModelError(
                f"unknown argument {sorted(unknown)[0]!r}",
                where=type(self).__name__,
                hint=f"It has {', '.join(self.defaults)} and weight",
            )
        self.weight = float(weight)
        self.numbers = {name: float(numbers.get(name, default)) for name, default in self.defaults.items()}
        if not all(math.isfinite(number) for number in (*self.numbers.values(), self.weight)):
            raise ModelError(f"a number that is not finite in {self!r}", where=type(self).__name__)
        self._check()

    def _check(self) -> None:
        """Refuse numbers that are no density."""

    def __getattr__(self, name: str) -> float:
        numbers = self.__dict__.get("numbers", {})
        if name in numbers:
            return float(numbers[name])
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    @property
    def support(self) -> tuple[float, float]:
        """Where the density is not zero."""
        return (-math.inf, math.inf)

    def value(self, x: float) -> float:
        """-2 ln p(x), times the weight; infinite outside the support."""
        return self.derivatives(x)[0]

    def __call__(self, x: Any) -> float:
        """The term for a value or a parameter."""
        return self.value(float(getattr(x, "value", x)))

    def derivatives(self, x: float) -> tuple[float, float, float]:
        """The term, its first and its second derivative at ``x``."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """As it stands in Gammapy's YAML."""
        parameters = [{"name": name, "value": value, "unit": ""} for name, value in self.numbers.items()]
        return {"type": self.tag, "parameters": parameters, "weight": self.weight}

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Prior:
        """The prior that a YAML entry describes."""
        data = data.get("prior", data)
        tag = data.get("type")
        if tag not in Prior.registry:
            near = difflib.get_close_matches(str(tag), Prior.registry, n=1)
            known = ", ".join(sorted(Prior.registry))
            raise ModelError(
                f"unknown prior type {tag!r}",
                hint=f"Did you mean {near[0]!r}?" if near else f"There are {known}",
            )
        numbers = {entry["name"]: entry["value"] for entry in data.get("parameters", [])}
        return Prior.registry[tag](weight=data.get("weight", 1.0), **numbers)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Prior)
            and type(self) is type(other)
            and (self.numbers, self.weight) == (other.numbers, other.weight)
        )

    def __hash__(self) -> int:
        return hash((type(self), *self.numbers.items(), self.weight))

    def __repr__(self) -> str:
        numbers = ", ".join(f"{name}={value:g}" for name, value in self.numbers.items())
        return f"{type(self).__name__}({numbers}{'' if self.weight == 1 else f', weight={self.weight:g}'})"


class GaussianPrior(Prior):
    """Gaussian: ``((x - mu) / sigma)^2 + ln(2 pi sigma^2)``."""

    tag = "GaussianPrior"
    defaults: ClassVar[dict[str, float]] = {"mu": 0.0, "sigma": 1.0}

    def _check(self) -> None:
        if self.sigma <= 0:
            raise ModelError(f"sigma is {self.sigma:g}", where="GaussianPrior", hint="It must be positive")

    def derivatives(self, x: float) -> tuple[float, float, float]:
        """The term, its first and its second derivative."""
        z = (x - self.mu) / self.sigma
        value = z * z + math.log(2 * math.pi) + 2 * math.log(self.sigma)
        return (
            self.weight * value,
            self.weight * 2 * z / self.sigma,
            self.weight * 2 / self.sigma**2,
        )


class UniformPrior(Prior):
    """Uniform between ``min`` and ``max``: ``2 ln(max - min)`` inside, infinite outside."""

    tag = "UniformPrior"
    defaults: ClassVar[dict[str, float]] = {"min": 0.0, "max": 1.0}

    def _check(self) -> None:
        if self.max <= self.min:
            raise ModelError(f"max {self.max:g} is not above min {self.min:g}", where=type(self).__name__)

    @property
    def support(self) -> tuple[float, float]:
        """Where the density is not zero."""
        return (self.min, self.max)

    def derivatives(self, x: float) -> tuple[float, float, float]:
        """The term, its first and its second derivative."""
        if not self.min <= x <= self.max:
            return (math.inf, 0.0, 0.0)
        return (self.weight * 2 * math.log(self.max - self.min), 0.0, 0.0)


class LogUniformPrior(UniformPrior):
    """Uniform in ln x between ``min`` and ``max``: ``2 ln(x ln(max / min))`` inside, infinite outside."""

    tag = "LogUniformPrior"
    defaults: ClassVar[dict[str, float]] = {"min": 1e-14, "max": 1e-10}

    def _check(self) -> None:
        super()._check()
        if self.min <= 0:
            raise ModelError(f"min is {self.min:g}", where="LogUniformPrior", hint="It must be positive")

    def derivatives(self, x: float) -> tuple[float, float, float]:
        """The term, its first and its second derivative."""
        if not self.min <= x <= self.max:
            return (math.inf, 0.0, 0.0)
        value = 2 * math.log(x * math.log(self.max / self.min))
        return (self.weight * value, self.weight * 2 / x, -self.weight * 2 / x**2)


class GeneralizedGaussianPrior(Prior):
    """Generalised Gaussian: p proportional to ``exp(-(|x - mu| / (sqrt(2) sigma))^(1/eta))``."""

    tag = "GeneralizedGaussianPrior"
    defaults: ClassVar[dict[str, float]] = {"mu": 0.0, "sigma": 1.0, "eta": 0.5}

    def _check(self) -> None:
        if self.sigma <= 0 or self.eta <= 0:
            raise ModelError(
                f"sigma {self.sigma:g}, eta {self.eta:g}", where=self.tag, hint="Both must be positive"
            )

    def derivatives(self, x: float) -> tuple[float, float, float]:
        """The term, its first and its second derivative (0 for both at ``mu``, where they may not exist)."""
        power, width = 1 / self.eta, math.sqrt(2) * self.sigma
        z = abs(x - self.mu) / width
        value = 2 * (z**power + math.log(2 * width / power) + float(gammaln(self.eta)))
        if z == 0 and power != 2:
            return (self.weight * value, 0.0, 0.0)
        sign = float(np.sign(x - self.mu))
        first = 2 * power * z ** (power - 1) * sign / width
        second = 2 * power * (power - 1) * z ** (power - 2) / width**2
        return (self.weight * value, self.weight * first, self.weight * second)
