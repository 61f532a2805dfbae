"""What to do when memory is out: settings that would fit, by the memory that the network is known to take."""

import os
import resource
from pathlib import Path

import paddle

from configs.schema import Config
from engine.distributed import Processes
from models.complexity import measure_complexity, training_bytes_per_clip

_USABLE = 0.85  # share of the memory; the rest is for the allocator's gaps and what a layer computes in
_WORKSPACE = 600e6  # bytes: libraries, buffers of convolutions
_AFFINITY_CHUNK = 64e6  # bytes of affinity at once that chunk_size is chosen for


def training_memory_advice(config: Config, error: BaseException, *, processes: Processes, memory: float) -> str:
    """One line: what was tried, about what it takes, and settings that would fit into `memory` bytes.

    The estimate is that of float32; mixed precision takes less.
    """
    section = config.TRAIN
    share = section.batch_size // processes.count
    at_once = share // section.accumulate_steps
    needed = _bytes(config, at_once, recompute=section.recompute)
    first_line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    tried = (
        f"out of memory with {at_once} clips of {section.video_length} x {section.crop_size} x {section.crop_size} at "
        f"once in each process ({first_line}); about {needed / 1e9:.1f} GB are needed, {memory / 1e9:.1f} GB are there"
    )
    offers = [
        *_smaller_parts(config, share, at_once, memory, section.recompute),
        *([] if section.recompute else _recomputation(config, share, at_once, memory)),
        *_chunks(config, at_once),
    ]
    if not any("TRAIN" in offer for offer in offers):
        offers.insert(0, "a smaller TRAIN.crop_size, TRAIN.video_length or MODEL.width_mult: not even one clip fits")
    return f"{tried}. What would fit: {'; or '.join(offers)}. In a validation: a smaller VALID.batch_size"


def usable_memory(device: str, cgroup: Path = Path("/sys/fs/cgroup/memory.max")) -> float:
    """Bytes of memory of the GPU, or those that this process may have of the machine's."""
    if device.startswith("gpu"):
        return float(paddle.device.cuda.get_device_properties(device).total_memory)
    limits = [float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))]
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        limits.append(float(soft))
    if cgroup.is_file() and (text := cgroup.read_text().strip()).isdecimal():
        limits.append(float(text))
    return min(limits)


def _bytes(config: Config, clips: int, *, recompute: bool) -> float:
    """Parameters, gradients and momentum; activations; workspace."""
    train = config.TRAIN
    stages = measure_complexity(config, num_frames=train.video_length, height=train.crop_size, width=train.crop_size)
    parameters = sum(stage.parameters for stage in stages)
    return 3 * 4 * parameters + clips * training_bytes_per_clip(config, recompute=recompute) + _WORKSPACE


def _largest_fitting(config: Config, share: int, below: int, memory: float, recompute: bool) -> int:
    """The most clips at once, a divisor of the share less than `below`, that fit; 0 if none does."""
    divisors = [clips for clips in range(below - 1, 0, -1) if share % clips == 0]
    fitting = (clips for clips in divisors if _bytes(config, clips, recompute=recompute) <= _USABLE * memory)
    return next(fitting, 0)


def _smaller_parts(config: Config, share: int, at_once: int, memory: float, recompute: bool) -> list[str]:
    clips = _largest_fitting(config, share, at_once, memory, recompute)
    if not clips:
        return []
    smaller = config.TRAIN.batch_size * clips * config.TRAIN.accumulate_steps // share
    return [
        f"TRAIN.accumulate_steps={share // clips} (the same batch, {clips} clips at once)",
        f"TRAIN.batch_size={smaller} with TRAIN.scale_lr=True, if learning_rate is meant for 64 clips",
    ]


def _recomputation(config: Config, share: int, at_once: int, memory: float) -> list[str]:
    clips = _largest_fitting(config, share, at_once + 1, memory, True)
    if not clips:
        return []
    parts = "" if clips == at_once else f" with TRAIN.accumulate_steps={share // clips}"
    size = _bytes(config, clips, recompute=True) / 1e9
    return [f"TRAIN.recompute=True{parts} (about {size:.1f} GB, for one more forward pass)"]


def _chunks(config: Config, at_once: int) -> list[str]:
    """A chunk_size for the largest affinity; its parts are computed one by one, but kept in training."""
    train = config.TRAIN
    if config.NONLOCAL.chunk_size:
        return []
    stages = measure_complexity(config, num_frames=train.video_length, height=train.crop_size, width=train.crop_size)
    stage = max(stages, key=lambda stage: stage.affinity_bytes)
    affinities = at_once * stage.affinity_bytes
    if affinities <= _AFFINITY_CHUNK:
        return []
    _, frames, height, width = stage.output
    queries = frames * height * width
    chunk = max(1, int(queries * _AFFINITY_CHUNK / affinities))
    return [f"NONLOCAL.chunk_size={chunk} beside these, for the affinities of {stage.name}"]
