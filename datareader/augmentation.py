"""Augmentation of training clips beside crop and mirror: drawn once for a clip, the same for all its frames.

Pillow does the operations: RandAugment and colour jitter are defined by its filters, and what others report was
measured with them. Frames are uint8 (S, S, 3), RGB.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

Operation = Callable[["Image"], "Image"]
_GREY = (128, 128, 128)  # what comes into sight where a frame is moved
_STRONGEST = 10  # magnitude of RandAugment
_ASPECTS_OF_CROP = (3 / 4, 4 / 3)
_AREAS_OF_ERASING = (0.02, 1 / 3)
_ASPECTS_OF_ERASING = (0.3, 1 / 0.3)
_ATTEMPTS = 10


class Box(NamedTuple):
    """A part of a frame, pixels."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What is done to clips. All is off by default.

    Attributes:
        color_jitter: brightness, contrast and saturation are multiplied by numbers in [max(0, 1 - s), 1 + s], in random
            order, as torchvision's ColorJitter does.
        rand_augment_ops, rand_augment_magnitude: RandAugment (Cubuk et al., arXiv 1909.13719): N of its 14 operations,
            with replacement, of magnitude M in [0, 10], which grow as in timm's "increasing" variants.
        erasing_probability: random erasing (Zhong et al., arXiv 1708.04896): a box of 2 to 33 % of the frame becomes
            noise.
    """

    color_jitter: float = 0.0
    rand_augment_ops: int = 0
    rand_augment_magnitude: float = 9.0
    erasing_probability: float = 0.0

    @property
    def is_on(self) -> bool:
        """Whether anything is done."""
        return bool(self.color_jitter or self.rand_augment_ops or self.erasing_probability)

    def of_clip(self, side: int, random: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
        """Draw what is done to a clip; return a function of a frame (side, side, 3)."""
        operations = [*self._jitter(random), *self._rand_augment(side, random)]
        box, noise = None, None
        if random.random() < self.erasing_probability:
            box = erased_box(side, random)
            noise = random.integers(0, 256, (box.height, box.width, 3), np.uint8) if box else None

        def augmented(frame: np.ndarray) -> np.ndarray:
            if operations:
                from PIL import Image

                image = Image.fromarray(frame)
                for operation in operations:
                    image = operation(image)
                frame = np.asarray(image)
            if box is not None:
                frame = frame.copy()
                frame[box.top : box.top + box.height, box.left : box.left + box.width] = noise
            return frame

        return augmented

    def _jitter(self, random: np.random.Generator) -> Iterator[Operation]:
        if not self.color_jitter:
            return
        factors = random.uniform(max(0.0, 1 - self.color_jitter), 1 + self.color_jitter, 3)
        filters = ("Brightness", "Contrast", "Color")
        for number in random.permutation(3).tolist():
            yield _enhance(filters[number], float(factors[number]))

    def _rand_augment(self, side: int, random: np.random.Generator) -> Iterator[Operation]:
        for _ in range(self.rand_augment_ops):
            name = RAND_AUGMENT[int(random.integers(len(RAND_AUGMENT)))]
            sign = 1.0 if random.random() < 0.5 else -1.0
            yield rand_augment_operation(name, self.rand_augment_magnitude / _STRONGEST, sign, side)


NO_AUGMENTATION = Augmentation()

RAND_AUGMENT = (
    "identity", "autocontrast", "equalize", "rotate", "solarize", "color", "posterize", "contrast", "brightness",
    "sharpness", "shear_x", "shear_y", "translate_x", "translate_y",
)  # fmt: skip


def rand_augment_operation(name: str, strength: float, sign: float, side: int) -> Operation:
    """Return one of the operations of RandAugment.

    ============  ==========================================================================
    operation     at strength s in [0, 1], of either sign
    ============  ==========================================================================
    rotate        30 s degrees
    solarize      pixels from 256 - 256 s on are inverted
    posterize     4 - 4 s bits are kept, at least one
    color ...     factor 1 + 0.9 s or 1 - 0.9 s (contrast, brightness and sharpness too)
    shear         0.3 s
    translate     0.45 s of the side
    ============  ==========================================================================
    """
    from PIL import Image, ImageOps

    def moved(matrix: Sequence[float]) -> Operation:
        return lambda image: image.transform(
            image.size, Image.Transform.AFFINE, matrix, resample=Image.Resampling.BILINEAR, fillcolor=_GREY
        )

    signed = sign * strength
    operations: dict[str, Operation] = {
        "identity": lambda image: image,
        "autocontrast": ImageOps.autocontrast,
        "equalize": ImageOps.equalize,
        "rotate": lambda image: image.rotate(30 * signed, resample=Image.Resampling.BILINEAR, fillcolor=_GREY),
        "solarize": lambda image: ImageOps.solarize(image, 256 - int(256 * strength)),
        "posterize": lambda image: ImageOps.posterize(image, max(1, 4 - int(4 * strength))),
        "color": _enhance("Color", 1 + 0.9 * signed),
        "contrast": _enhance("Contrast", 1 + 0.9 * signed),
        "brightness": _enhance("Brightness", 1 + 0.9 * signed),
        "sharpness": _enhance("Sharpness", 1 + 0.9 * signed),
        "shear_x": moved((1, 0.3 * signed, 0, 0, 1, 0)),
        "shear_y": moved((1, 0, 0, 0.3 * signed, 1, 0)),
        "translate_x": moved((1, 0, 0.45 * signed * side, 0, 1, 0)),
        "translate_y": moved((1, 0, 0, 0, 1, 0.45 * signed * side)),
    }
    return operations[name]


def _enhance(name: str, factor: float) -> Operation:
    from PIL import ImageEnhance

    return lambda image: getattr(ImageEnhance, name)(image).enhance(factor)


def resized_crop_box(height: int, width: int, smallest_area: float, random: np.random.Generator) -> Box:
    """Draw the part of a frame that a random-resized crop takes (Szegedy et al., arXiv 1409.4842).

    Its area is a share in [smallest_area, 1] of the frame's, its aspect in [3/4, 4/3], both uniform, the aspect in its
    logarithm. After ten boxes that do not fit, the largest square in the middle.
    """
    box = _draw_box(height, width, (smallest_area, 1.0), _ASPECTS_OF_CROP, random)
    if box is not None:
        return box
    side = min(height, width)
    return Box((height - side) // 2, (width - side) // 2, side, side)


def erased_box(side: int, random: np.random.Generator) -> Box | None:
    """Draw the part of a frame that is erased; None after ten boxes that do not fit."""
    return _draw_box(side, side, _AREAS_OF_ERASING, _ASPECTS_OF_ERASING, random)


def _draw_box(
    height: int, width: int, areas: tuple[float, float], aspects: tuple[float, float], random: np.random.Generator
) -> Box | None:
    for _ in range(_ATTEMPTS):
        area = height * width * random.uniform(*areas)
        aspect = math.exp(random.uniform(math.log(aspects[0]), math.log(aspects[1])))  # width by height
        box_width, box_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < box_width <= width and 0 < box_height <= height:
            top = int(random.integers(height - box_height, endpoint=True))
            left = int(random.integers(width - box_width, endpoint=True))
            return Box(top, left, box_height, box_width)
    return None
