"""What happened to every name when weights were loaded into a network."""

from dataclasses import dataclass, field

from models.weights.dialects import some


@dataclass
class FitReport:
    """What happened to every name. The names are the network's; those of `unexpected` are the file's."""

    loaded: list[str] = field(default_factory=list)  # as they were
    inflated: list[str] = field(default_factory=list)  # 2D kernels repeated over time
    converted: list[str] = field(default_factory=list)  # classifier transposed, BN folded into affine
    missing: list[str] = field(default_factory=list)  # left as initialised
    renewed: list[str] = field(default_factory=list)  # classifier for another number of classes: left as initialised
    unexpected: list[str] = field(default_factory=list)  # in the file, not in the network

    def summary(self) -> str:
        """Return one line: the number of each, and a few names of what needs attention.

        >>> FitReport(loaded=["a", "b"], missing=["c"]).summary()
        '2 loaded as they are; 1 missing (c)'
        """
        parts = [f"{len(self.loaded)} loaded as they are"]
        parts += [f"{len(names)} {what}" for what in ("inflated", "converted") if (names := getattr(self, what))]
        if self.renewed:
            parts.append("a new classifier, because the number of classes differs")
        parts += [f"{len(names)} {what} ({some(names)})" for what in ("missing", "unexpected")
                  if (names := getattr(self, what))]  # fmt: skip
        return "; ".join(parts)

    def details(self) -> list[str]:
        """Return a line for every name that was not loaded as it is, and one line for all that were."""
        lines = [f"{what}: {name}" for what in ("inflated", "converted", "missing", "renewed", "unexpected")
                 for name in getattr(self, what)]  # fmt: skip
        return [*lines, "loaded: " + " ".join(self.loaded)]
