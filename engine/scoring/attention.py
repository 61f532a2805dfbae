"""What the non-local blocks of a network attend to in one view.

Legend: T, H, W of the view; T', H', W' of a block's input; H", W" of its keys (max-pooled: half of H' and W').
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import paddle

from models.network import VideoNetwork
from models.nonlocal_block import NonLocalBlock

_ROWS = 1024  # of an affinity that are computed at once


@dataclass(frozen=True)
class Query:
    """A position of a block, and what it attends to."""

    frame: int  # in [0, T')
    row: int
    column: int
    strength: float  # norm of what the block adds to the features here, divided by the mean norm of the features
    weights: np.ndarray  # float32 (T', H", W"): f / C(x) of equation 1; its sum is 1 where f is a softmax


@dataclass(frozen=True)
class BlockAttention:
    """One block."""

    name: str
    size: tuple[int, int, int]  # (T', H', W')
    queries: list[Query]
    strengths: np.ndarray  # float32 (T', H', W'): the strength of every position
    affinity: np.ndarray | None  # float32 (P, T', H", W"): the weights of every position, if they were asked for
    frames: Sequence[int]  # (T',): which frame of the view each frame of the map stands for


def attention_of_blocks(
    network: VideoNetwork,
    view: np.ndarray,
    *,
    points: Sequence[tuple[float, float, float]] = (),
    strongest: int = 1,
    whole: bool = False,
) -> tuple[list[BlockAttention], np.ndarray]:
    """Run a view through `network` and return what its non-local blocks attend to. Leaves it in evaluation mode.

    Args:
        view: uint8 (3, T, H, W), RGB.
        points: the queries, as fractions (time, height, width) of the view, each in [0, 1). Empty: in each block, the
            positions to which it adds most.
        strongest: the number of these positions.
        whole: return the whole affinity too, also for blocks that compute it in chunks.

    Returns:
        The blocks, from the input on, and the class probabilities float32 (K,).
    """
    blocks = list(network.nonlocal_blocks.values())
    passed: dict[str, tuple[paddle.Tensor, paddle.Tensor]] = {}

    def remember(layer: NonLocalBlock, inputs: tuple[paddle.Tensor], output: paddle.Tensor) -> None:
        # The ReLU of the next residual block works in place.
        passed[layer.name] = inputs[0].clone(), output.clone()

    hooks = [block.register_forward_post_hook(remember) for block in blocks]
    network.eval()
    try:
        with paddle.no_grad():
            probabilities = network(paddle.to_tensor(view[None])).numpy()[0]
            found = [_look(network, view, block, *passed[block.name], points, strongest, whole) for block in blocks]
    finally:
        for hook in hooks:
            hook.remove()
    return found, probabilities


def _look(
    network: VideoNetwork,
    view: np.ndarray,
    block: NonLocalBlock,
    x: paddle.Tensor,
    z: paddle.Tensor,
    points: Sequence[tuple[float, float, float]],
    strongest: int,
    whole: bool,
) -> BlockAttention:
    size = tuple(x.shape[2:])  # (T', H', W')
    strengths = (z - x).norm(axis=1)[0].numpy() / max(float(x.norm(axis=1).mean()), 1e-12)  # (T', H', W')
    if points:
        positions = [tuple(int(part * length) for part, length in zip(point, size, strict=True)) for point in points]
    else:
        best = np.argsort(-strengths, axis=None, kind="stable")[:strongest]
        positions = [tuple(map(int, np.unravel_index(flat, size))) for flat in best]
    flat = [(frame * size[1] + row) * size[2] + column for frame, row, column in positions]
    rows = block.attention(x, flat)[0].numpy()  # (Q, T', H", W")
    queries = [
        Query(*position, float(strengths[position]), weights) for position, weights in zip(positions, rows, strict=True)
    ]
    affinity = np.concatenate([
        block.attention(x, range(start, min(start + _ROWS, strengths.size)))[0].numpy()
        for start in range(0, strengths.size, _ROWS)
    ]) if whole else None  # fmt: skip
    frames = network.frames_of_map(view.shape[1], size[0])
    return BlockAttention(block.name, size, queries, strengths, affinity, frames)
