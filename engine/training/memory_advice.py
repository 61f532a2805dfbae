"""What to do when memory is out: settings that would fit, by the memory that the network is known to take."""

import os
import resource
from pathlib import Path

import paddle

from configs.schema import TrainSection
from engine.distributed import Processes
from models.complexity import StageCost, training_bytes_per_clip
from models.network import VideoNetwork
from utils.errors import one_line

_USABLE = 0.85  # share of the memory; the rest is for the allocator's gaps and what a layer computes in
_WORKSPACE = 600e6  # bytes: libraries, buffers of convolutions


def training_memory_advice(
    section: TrainSection, network: VideoNetwork, error: BaseException, *, processes: Processes, memory: float
) -> str:
    """Return one line: what was tried, about what it takes, and settings that would fit into `memory` bytes.

    The estimate is that of float32; mixed precision takes less. For a network that does not count its cost the line
    names the settings without figures.
    """
    share = section.batch_size // processes.count
    at_once = share // section.accumulate_steps
    tried = (
        f"out of memory with {at_once} clips of {section.video_length} x {section.crop_size} x {section.crop_size} at "
        f"once in each process ({one_line(error)})"
    )
    try:
        costs = network.costs((section.video_length, section.crop_size, section.crop_size))
    except Exception as unknown:  # noqa: BLE001 - the advice is worth more than its figures
        return (
            f"{tried}. What takes less: a larger TRAIN.accumulate_steps, TRAIN.recompute=True, a smaller "
            f"TRAIN.batch_size (no figures: {one_line(unknown)})"
        )
    estimate = _Estimate(costs, share=share, at_once=at_once, memory=memory)
    needed = estimate.bytes(at_once, recompute=section.recompute)
    offers = [*_smaller_parts(section, estimate), *([] if section.recompute else _recomputation(estimate))]
    if not offers:
        offers = ["a smaller TRAIN.crop_size or TRAIN.video_length, or a narrower network: not one clip fits"]
    offers += network.memory_advice(costs, at_once)
    return (
        f"{tried}; about {needed / 1e9:.1f} GB are needed, {memory / 1e9:.1f} GB are there. What would fit: "
        f"{'; or '.join(offers)}. In a validation: a smaller VALID.batch_size"
    )


def usable_memory(device: str, cgroup: Path = Path("/sys/fs/cgroup/memory.max")) -> float:
    """Return the bytes of memory of the GPU, or those that this process may have of the machine's."""
    if device.startswith("gpu"):
        return float(paddle.device.cuda.get_device_properties(device).total_memory)
    limits = [float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))]
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        limits.append(float(soft))
    if cgroup.is_file() and (text := cgroup.read_text().strip()).isdecimal():
        limits.append(float(text))
    return min(limits)


class _Estimate:
    """What a training step takes.

    Args:
        costs: of one clip.
        share: clips of the batch that a process has.
        at_once: of these, clips that go through the network at once.
        memory: bytes that are there.
    """

    def __init__(self, costs: list[StageCost], *, share: int, at_once: int, memory: float) -> None:
        self._costs = costs
        self.share = share
        self.at_once = at_once
        self._memory = memory

    def bytes(self, clips: int, *, recompute: bool) -> float:
        """Return what parameters, their gradients and momentum, activations of `clips`, and workspace take."""
        trained, frozen = sum(stage.parameters for stage in self._costs), sum(stage.frozen for stage in self._costs)
        return (
            4 * (3 * trained + frozen) + clips * training_bytes_per_clip(self._costs, recompute=recompute) + _WORKSPACE
        )

    def largest_fitting(self, below: int, *, recompute: bool) -> int:
        """Return the most clips at once, a divisor of the share less than `below`, that fit; 0 if none does."""
        divisors = [clips for clips in range(below - 1, 0, -1) if self.share % clips == 0]
        fitting = (clips for clips in divisors if self.bytes(clips, recompute=recompute) <= _USABLE * self._memory)
        return next(fitting, 0)


def _smaller_parts(section: TrainSection, estimate: _Estimate) -> list[str]:
    clips = estimate.largest_fitting(estimate.at_once, recompute=section.recompute)
    if not clips:
        return []
    smaller = section.batch_size * clips * section.accumulate_steps // estimate.share
    return [
        f"TRAIN.accumulate_steps={estimate.share // clips} (the same batch, {clips} clips at once)",
        f"TRAIN.batch_size={smaller} with TRAIN.scale_lr=True, if learning_rate is meant for 64 clips",
    ]


def _recomputation(estimate: _Estimate) -> list[str]:
    clips = estimate.largest_fitting(estimate.at_once + 1, recompute=True)
    if not clips:
        return []
    parts = "" if clips == estimate.at_once else f" with TRAIN.accumulate_steps={estimate.share // clips}"
    size = estimate.bytes(clips, recompute=True) / 1e9
    return [f"TRAIN.recompute=True{parts} (about {size:.1f} GB, for one more forward pass)"]
