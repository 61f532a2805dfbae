"""What a key of a config says of itself: documentation, range, and whether it may change when a run is continued."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

Compared = Literal["training", "test", "network"]  # a stopped run or test that goes on; two networks


@dataclass(frozen=True)
class Range:
    """The values that a number may have; None: no bound on this side."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def broken_rule(self, value: float) -> str:
        """The rule that `value` breaks, in words; empty if it breaks none."""
        rules = (
            (self.at_least, lambda bound: value >= bound, "at least"),
            (self.above, lambda bound: value > bound, "greater than"),
            (self.at_most, lambda bound: value <= bound, "at most"),
            (self.below, lambda bound: value < bound, "less than"),
        )
        broken = (
            f"must be {words} {bound:g}" for bound, holds, words in rules if bound is not None and not holds(bound)
        )
        return next(broken, "")

    def text(self) -> str:
        """The range for a table, such as ``>= 0, < 1``; empty if there is none."""
        bounds = ((">=", self.at_least), (">", self.above), ("<=", self.at_most), ("<", self.below))
        return ", ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)


def setting(
    default: Any,
    doc: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    may_change: bool = False,
    shapes_network: bool = False,
) -> Any:
    """A field of a section.

    Args:
        default: its value where a config does not name the key.
        doc: one line of documentation, with the unit.
        at_least, above, at_most, below: its range.
        may_change: a stopped run or test may go on with another value.
        shapes_network: the network is built by it, so it counts wherever networks are compared.
    """
    range_ = Range(at_least, above, at_most, below)
    metadata = {"doc": doc, "range": range_, "may_change": may_change, "shapes_network": shapes_network}
    return dataclasses.field(default=default, metadata=metadata)


class Section:
    """Base of all sections."""

    # The comparisons in which this section counts, but for its keys that may change.
    counts_for: ClassVar[frozenset[Compared]] = frozenset({"training", "test", "network"})
    # Keys of earlier versions: the value that is passed over in silence, and what is said of any other.
    retired_keys: ClassVar[Mapping[str, tuple[str, str]]] = {}
