"""The result of a gradient check."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from minihash import text

SHOWN = 8  # offenders, and places of a kink
FLOAT32 = "float32 differences"  # the method where values are float32's, whatever goes in
#: Why an array is inconclusive and what to do, by whether its values are float32's.
ADVICE = {
    True: "its values are float32's, which hide small errors; let the function compute in float64",
    False: "rounding hides errors of the size in 'resolution'; try other inputs, of size 1, or float64",
}
HEADER = ("gradient", "shape", "precision", "method", "checked", "error/tol.", "resolution", "")


class GradientError(AssertionError):
    """A gradient is wrong; the message is the report."""


@dataclass(frozen=True)
class Offender:
    """One wrong gradient: where, what it claims, what values say, and the tolerance it exceeds.

    `index` is None for a derivative along a random direction, no part of which is wrong by itself.
    """

    name: str
    index: tuple[int, ...] | None
    claimed: float
    expected: float
    tolerance: float
    precision: str
    note: str = ""

    @property
    def place(self) -> str:
        if self.index is None:
            return f"{self.name} along a random direction"
        return f"{self.name}[{', '.join(map(str, self.index))}]"

    @property
    def error(self) -> float:
        return abs(self.claimed - self.expected)

    def __str__(self) -> str:
        line = (
            f"{self.place}: claimed {self.claimed:.8g}, expected {self.expected:.8g} "
            f"(off by {self.error:.2g}, tolerance {self.tolerance:.2g}, {self.precision})"
        )
        return f"{line}\n    {self.note}" if self.note else line


def severity(offender: Offender) -> float:
    """Return error / tolerance, infinite for what is not a number."""
    ratio = offender.error / offender.tolerance
    return np.inf if np.isnan(ratio) else ratio


@dataclass
class ArrayReport:
    """What is known of the gradient of one array.

    `errors` and `tolerances` have the array's shape, NaN where a place was not checked by itself;
    `resolution` is the relative error (against the array's typical gradient) that would have been seen.
    """

    name: str
    precision: str
    method: str
    checked: str
    errors: np.ndarray
    tolerances: np.ndarray
    worst: float = 0.0  # error / tolerance, directions included
    resolution: float = 0.0
    offenders: list[Offender] = field(default_factory=list)
    kinks: dict[tuple[int, ...], tuple[float, float]] = field(default_factory=dict)  # place -> its slopes
    has_kink: bool = False
    stopped: bool = False  # with so many offenders that the rest was not looked at

    @property
    def status(self) -> str:
        if self.offenders or not self.worst <= 1:
            return "WRONG"
        if not self.resolution <= (1e-2 if self.method == FLOAT32 else 1e-3):
            return "inconclusive"
        return "kink" if self.has_kink else "ok"

    @property
    def cells(self) -> tuple[str, ...]:
        """The array's row under HEADER."""
        shape = "x".join(map(str, self.errors.shape)) or "1"
        sizes = f"{self.worst:.2g}", f"{self.resolution:.1e}"
        return self.name, shape, self.precision, self.method, self.checked, *sizes, self.status


@dataclass
class GradientReport:
    """What `check_gradients` returns.

    Attributes
    ----------
    arrays : an `ArrayReport` for each array and precision.
    problems : what is wrong beyond single numbers: arrays that share memory, gradients that accumulate.
    diagnosis : sentences that explain the wrong gradients of hashed layers together.
    outputs : the outputs of a module of float32, beside those of its float64 twin.
    """

    arrays: list[ArrayReport]
    problems: list[str]
    diagnosis: list[str]
    outputs: ArrayReport | None = None

    @property
    def rows(self) -> list[ArrayReport]:
        """The gradients, and the outputs where those were compared."""
        return [*self.arrays, self.outputs] if self.outputs else self.arrays

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems and all(row.status != "WRONG" for row in self.rows)

    @property
    def offenders(self) -> list[Offender]:
        """All wrong gradients, the worst (by error / tolerance) first."""
        return sorted((one for row in self.rows for one in row.offenders), key=severity, reverse=True)

    @property
    def kinks(self) -> dict[str, list[tuple[int, ...]]]:
        """Arrays along which the function has a kink, and the places of it where they are known."""
        return {array.name: list(array.kinks) for array in self.arrays if array.has_kink}

    def raise_for_errors(self) -> None:
        """Raise a GradientError with the report as its message unless all is well."""
        if not self.ok:
            raise GradientError("\n" + str(self))

    def __str__(self) -> str:
        offenders = self.offenders
        shown = [row for row in self.rows if row is not self.outputs or row.status != "ok"]
        lines = [f"gradient check: {self._verdict()}"]
        lines.append(text.table(HEADER, [row.cells for row in shown], left=5))
        lines += [f"problem: {problem}" for problem in self.problems]
        lines += [f"diagnosis: {sentence}" for sentence in self.diagnosis]
        lines += map(str, offenders[:SHOWN])
        if len(offenders) > SHOWN:
            lines.append(f"... and {len(offenders) - SHOWN} more")
        for name, places in self.kinks.items():
            where = ", ".join(map(str, places[:SHOWN])) or "somewhere (too large to look at each place)"
            lines.append(f"kink in {name}, where a derivative from the left differs: {where}")
        return "\n".join(lines)

    def _verdict(self) -> str:
        if not self.ok:
            wrong = len(self.offenders)
            if any(row.stopped for row in self.rows):
                return f"at least {wrong} wrong (stopped looking)"
            return f"{wrong} wrong" if wrong else "failed"
        unsure = [row for row in self.rows if row.status == "inconclusive"]
        if not unsure:
            return "ok"
        advice = ADVICE[any(row.method == FLOAT32 for row in unsure)]
        return f"ok, {len(unsure)} array{'s' * (len(unsure) > 1)} inconclusive: {advice}"
