"""Write a small labelled set of H.264 videos, moving shapes, for trying the toolkit without any data.

    python tools/make_shapes_dataset.py FOLDER [--train 40] [--val 10] [--test 10] [--several]

makes FOLDER/videos/<class>/*.mp4, the lists FOLDER/train.txt, val.txt and test.txt (paths relative to FOLDER) and
FOLDER/classes.json. The classes differ in what moves (disc, bar, square) and in how it moves (sideways, up and down,
spinning, pulsing). Sizes, frame rates, lengths, colours, backgrounds and speeds vary. The same seed gives the same
pictures. With --several two or three classes are in a video at once, and the lists name all of them.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a program, from any folder

import av
import cv2
import numpy as np

from configs.arguments import non_negative_integer
from utils.atomic_file import write_json, write_text
from utils.commandline import ProgramParser, run_program
from utils.logging import setup_logging

_SIZES = ((120, 96), (128, 112), (112, 128), (128, 128), (144, 120))  # (width, height), pixels
_FRAME_RATES = (15, 24, 25, 30)
_FRAMES = (60, 100)  # shortest and longest video
_SPLITS = {"train": 0, "val": 1, "test": 2}


@dataclass(frozen=True)
class Pose:
    """Where a shape is: x and y in [-1, 1] of its reach, angle in radians, size in multiples of its own."""

    x: float = 0.0
    y: float = 0.0
    angle: float = 0.0
    size: float = 1.0


# Class name -> (shape, motion: phase in radians to pose). All look the same in a mirror.
CLASSES: dict[str, tuple[str, Callable[[float], Pose]]] = {
    "disc_sideways": ("disc", lambda phase: Pose(x=np.sin(phase))),
    "disc_up_and_down": ("disc", lambda phase: Pose(y=np.sin(phase))),
    "bar_spinning": ("bar", lambda phase: Pose(angle=phase)),
    "square_pulsing": ("square", lambda phase: Pose(size=1.2 + 0.7 * np.sin(phase))),
}
_CORNERS = {"square": ((-1, -1), (1, -1), (1, 1), (-1, 1)), "bar": ((-2, -0.4), (2, -0.4), (2, 0.4), (-2, 0.4))}


def render(class_name: str, random: np.random.Generator) -> tuple[list[np.ndarray], int]:
    """Draw one video of a class: frames, uint8 (H, W, 3) RGB each, and frames per second."""
    return _render([class_name], [(0.5, 0.5)], 1.0, random)


def render_several(class_names: Sequence[str], random: np.random.Generator) -> tuple[list[np.ndarray], int]:
    """Draw one video of up to four classes, each in a quarter of its own: see `render`."""
    quarters = [(x, y) for x in (0.28, 0.72) for y in (0.28, 0.72)]
    places = [quarters[number] for number in random.permutation(len(quarters))[: len(class_names)]]
    return _render(class_names, places, 0.55, random)


def _render(
    class_names: Sequence[str], places: Sequence[tuple[float, float]], scale: float, random: np.random.Generator
) -> tuple[list[np.ndarray], int]:
    """Draw a video: the middle of each class as a share of width and height, and their size by that of a single one."""
    width, height = _SIZES[random.integers(len(_SIZES))]
    num_frames = int(random.integers(_FRAMES[0], _FRAMES[1], endpoint=True))
    background = _background(width, height, random)
    movers = [
        _Mover.drawn(name, place, scale, background, random) for name, place in zip(class_names, places, strict=True)
    ]
    frames = []
    for number in range(num_frames):
        noise = random.integers(-8, 9, background.shape, dtype=np.int16)
        frame = np.clip(background + noise, 0, 255).astype(np.uint8)
        for mover in movers:
            mover.draw(frame, number)
        frames.append(frame)
    return frames, _FRAME_RATES[random.integers(len(_FRAME_RATES))]


@dataclass(frozen=True)
class _Mover:
    """A shape that moves."""

    class_name: str
    colour: tuple[int, int, int]
    radius: float
    centre: np.ndarray
    reach: float
    phase: float
    step: float  # radians a frame

    @classmethod
    def drawn(
        cls, name: str, place: tuple[float, float], scale: float, background: np.ndarray, random: np.random.Generator
    ) -> "_Mover":
        """Draw its looks and its speed at random."""
        height, width = background.shape[:2]
        colour = _contrasting_colour(background, random)
        radius = scale * min(width, height) * random.uniform(0.16, 0.2)
        centre = np.array([width, height]) * (np.array(place) + random.uniform(-0.04, 0.04, 2))
        reach = scale * min(width, height) * random.uniform(0.27, 0.32)
        phase, step = random.uniform(0, 2 * np.pi), 2 * np.pi / random.uniform(16, 26)  # frames a period
        return cls(name, colour, radius, centre, reach, phase, step)

    def draw(self, frame: np.ndarray, number: int) -> None:
        """Draw it into frame `number`."""
        shape, motion = CLASSES[self.class_name]
        pose = motion(self.phase + self.step * number)
        _draw(frame, shape, pose, self.centre + self.reach * np.array([pose.x, pose.y]), self.radius, self.colour)


def write_video(path: Path, frames: Sequence[np.ndarray], frames_per_second: int) -> None:
    """Encode frames, uint8 (H, W, 3) RGB each, as H.264 in an mp4 file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(frames_per_second))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        # What x264 writes depends on its number of threads, which depends on the machine.
        stream.options = {"crf": "20", "preset": "veryfast", "threads": "1"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def _background(width: int, height: int, random: np.random.Generator) -> np.ndarray:
    coarse = random.integers(0, 256, (4, 5, 3)).astype(np.float32)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return (0.25 * smooth + random.uniform(0, 192, 3)).clip(0, 255).astype(np.int16)


def _contrasting_colour(background: np.ndarray, random: np.random.Generator) -> tuple[int, int, int]:
    mean = background.mean(axis=(0, 1))
    colours = random.integers(0, 256, (16, 3))
    best = colours[np.abs(colours - mean).sum(axis=1).argmax()]
    return tuple(int(value) for value in best)


def _draw(
    frame: np.ndarray, shape: str, pose: Pose, centre: np.ndarray, radius: float, colour: tuple[int, int, int]
) -> None:
    radius *= pose.size
    if shape == "disc":
        cv2.circle(frame, tuple(round(value) for value in centre), round(radius), colour, -1, cv2.LINE_AA)
        return
    cosine, sine = np.cos(pose.angle), np.sin(pose.angle)
    corners = np.array(_CORNERS[shape]) @ np.array([[cosine, sine], [-sine, cosine]])
    cv2.fillPoly(frame, [np.round(centre + radius * corners).astype(np.int32)], colour, cv2.LINE_AA)


def _write_several(folder: Path, split: str, num_videos: int, seed: int) -> Iterator[str]:
    names = list(CLASSES)
    for number in range(num_videos):
        random = np.random.default_rng((seed, _SPLITS[split], len(names), number))
        labels = sorted(random.permutation(len(names))[: random.integers(2, 4)].tolist())
        name = f"videos/{split}_{number:03d}.mp4"
        write_video(folder / name, *render_several([names[label] for label in labels], random))
        yield f"{name} {','.join(map(str, labels))}\n"


def _write_split(folder: Path, split: str, videos_per_class: int, seed: int) -> Iterator[str]:
    for label, class_name in enumerate(CLASSES):
        for number in range(videos_per_class):
            random = np.random.default_rng((seed, _SPLITS[split], label, number))
            name = f"videos/{class_name}/{split}_{number:03d}.mp4"
            write_video(folder / name, *render(class_name, random))
            yield f"{name} {label}\n"


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = ProgramParser(
        description="Write a small labelled set of videos of moving shapes.",
        epilog="example: python tools/make_shapes_dataset.py quickstart/data --train 40",
    )
    output = parser.add_argument_group("what is written")
    output.add_argument("folder", type=Path, help="folder of videos, lists and classes.json")
    output.add_argument("--train", type=non_negative_integer, default=40, help="training videos a class (%(default)s)")
    output.add_argument("--val", type=non_negative_integer, default=10, help="validation videos a class (%(default)s)")
    output.add_argument("--test", type=non_negative_integer, default=10, help="test videos a class (%(default)s)")
    output.add_argument(
        "--seed", type=non_negative_integer, default=0, help="the same gives the same pictures (%(default)s)"
    )
    output.add_argument(
        "--several", action="store_true", help="two or three classes in each video; --train 40 are then 160 of them"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
    args = parse_arguments(argv)
    setup_logging()
    counts = {"train": args.train, "val": args.val, "test": args.test}
    for split, count in counts.items():
        if args.several:
            lines = list(_write_several(args.folder, split, count * len(CLASSES), args.seed))
        else:
            lines = list(_write_split(args.folder, split, count, args.seed))
        write_text(args.folder / f"{split}.txt", "".join(lines))
    write_json(args.folder / "classes.json", list(CLASSES))
    print(f"{sum(counts.values()) * len(CLASSES)} videos of {len(CLASSES)} classes in {args.folder}")


if __name__ == "__main__":
    sys.exit(run_program(main))
