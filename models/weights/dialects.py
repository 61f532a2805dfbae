"""How other systems name the parameters of a network, and which system a file is of."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from utils.errors import WeightsError
from utils.printable import printable_line

KNOWN_FORMATS = (
    "checkpoints of this toolkit; Paddle 1.x folders, .pdparams of Paddle 1.6 to 3; Caffe2 pickles of the authors; "
    "PyTorch .pth/.pt/.pyth and .safetensors with the names of torchvision ResNets, or of the networks of PySlowFast, "
    "PyTorchVideo, MMAction2, GluonCV, TSM and pytorch-resnet3d; PaddleVideo; paddle.vision ResNets"
)
_WRAPPERS = ("module.", "_orig_mod.", "model.")  # prefixes that wrapping a network adds to every name

_Word = Callable[[str], str]


@dataclass(frozen=True)
class Dialect:
    """How one system names the parameters of a network.

    Args:
        title: of the system, for messages.
        rules: pattern of a name there, and its neutral name with the pattern's groups in braces.
        words: by group, what a group's text becomes in the neutral name.
        skipped: pattern of names that are of no use here (optimiser state, counters).
        head_is_out_in: the classifier is stored [classes, channels].
        usual: values that config keys usually have for networks of this system; a config that differs gets a warning.
        is_of: whether arrays with such names are of this system; for names that two systems share.
        lineages: who trains networks with such names, rows of `models/lineages.py`. Empty: anybody may.
        doubt: what such names leave open and nobody can tell, a sentence for the log.
    """

    title: str
    rules: tuple[tuple[str, str], ...]
    words: Mapping[str, _Word] = field(default_factory=dict)
    skipped: str = r"(?!)"
    head_is_out_in: bool = True
    usual: Mapping[str, Any] = field(default_factory=dict)
    is_of: Callable[[Mapping[str, np.ndarray]], bool] = lambda arrays: True
    lineages: tuple[str, ...] = ()
    doubt: str = ""

    def neutral_name(self, name: str) -> str | None:
        """Return the neutral name of a parameter called `name` in this dialect, None if it has no such name."""
        for pattern, template in self.rules:
            if match := re.fullmatch(pattern, name):
                groups = match.groupdict(default="")
                words = {group: self.words.get(group, str)(text) for group, text in groups.items()}
                return template.format(**words)
        return None

    def skips(self, name: str) -> bool:
        """Whether `name` is known to be of no use."""
        return re.fullmatch(self.skipped, name) is not None


@dataclass
class FileArrays:
    """What a weights file holds, before anybody asks what network it is of.

    Args:
        source: the file, for messages.
        container: its format, for messages.
        arrays: by the name in the file.
        others: names in it that are known to be no parameters.
        is_own: a save of this toolkit, whose names are those of its network.
        settings: what its system keeps beside the weights, see `settings_of`.
    """

    source: str
    container: str
    arrays: dict[str, np.ndarray]
    others: Sequence[str] = ()
    is_own: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class NamedWeights:
    """Values by neutral name, and what is known about where they come from.

    Args:
        source: the file, for messages.
        format: what it was found to be, for messages.
        values: by neutral name; the file's own shapes, for example 2D kernels [out, in, h, w].
        file_names: neutral name to the name in the file.
        unknown: names in the file that mean nothing here.
        head_is_out_in: a two-dimensional classifier is [classes, channels].
        usual, lineages, doubt: see `Dialect`.
    """

    source: str
    format: str
    values: dict[str, np.ndarray]
    file_names: dict[str, str]
    unknown: list[str]
    head_is_out_in: bool = False
    usual: Mapping[str, Any] = field(default_factory=dict)
    lineages: tuple[str, ...] = ()
    doubt: str = ""


def name_weights(file: FileArrays, dialects: Sequence[Dialect]) -> NamedWeights:
    """Find out which of `dialects` the names of a file are of, and give its values their neutral names.

    Raises:
        WeightsError: fewer than half of the names are of a known system.
    """
    names = {name: name for name in file.arrays}
    while names and (wrapper := next((w for w in _WRAPPERS if all(name.startswith(w) for name in names)), "")):
        names = {name.removeprefix(wrapper): original for name, original in names.items()}
    arrays = {name: file.arrays[original] for name, original in names.items()}
    candidates = [dialect for dialect in dialects if dialect.is_of(arrays)] or dialects[:1]
    dialect = max(candidates, key=lambda candidate: sum(map(bool, map(candidate.neutral_name, names))))
    file_names: dict[str, str] = {}
    unknown = []
    for name, original in names.items():
        if dialect.skips(name):
            continue
        neutral = dialect.neutral_name(name)
        if neutral is None:
            unknown.append(original)
        elif not _are_same(file.arrays[file_names.setdefault(neutral, original)], file.arrays[original]):
            raise WeightsError(
                f"{file.source}: {_shown(file_names[neutral])} and {_shown(original)} are two names of one parameter, "
                "and differ"
            )
    if not file_names or len(file_names) < len(unknown):
        raise WeightsError(
            f"{file.source}: a {file.container} of {len(file.arrays)} arrays, but {len(unknown)} of their names belong "
            f"to no known network: {some(unknown) if unknown else some(file.arrays)}. Known: {KNOWN_FORMATS}"
        )
    return NamedWeights(
        source=file.source,
        format=f"{file.container}, {dialect.title}",
        values={neutral: file.arrays[original] for neutral, original in file_names.items()},
        file_names=file_names,
        unknown=[*unknown, *file.others],
        # Paddle's own ResNets are told from torchvision's by their statistics: `_mean`, not `running_mean`.
        head_is_out_in=dialect.head_is_out_in and not any(name.endswith("._mean") for name in names),
        usual=dialect.usual,
        lineages=dialect.lineages,
        doubt=dialect.doubt,
    )


def without_wrappers(name: str) -> str:
    """Return a name without the prefixes that wrapping a network adds.

    >>> without_wrappers("module.model.conv1.weight")
    'conv1.weight'
    """
    while wrapper := next(filter(name.startswith, _WRAPPERS), ""):
        name = name.removeprefix(wrapper)
    return name


def _are_same(first: np.ndarray, second: np.ndarray) -> bool:
    return first is second or (first.dtype == second.dtype and np.array_equal(first, second))


def some(names: Iterable[object]) -> str:
    """Return the first three of `names`, for a message."""
    names = list(names)
    return ", ".join(map(_shown, names[:3])) + (", ..." if len(names) > 3 else "") if names else "none"


def _shown(name: object) -> str:
    # Names come from files: neither long ones nor a terminal's control characters shall reach the screen.
    return printable_line(str(name)[:100])
