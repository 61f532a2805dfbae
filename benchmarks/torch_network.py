"""The same network in PyTorch, with the same parameter names and the same forward pass, for comparison only."""

from collections.abc import Mapping

import numpy as np
import torch
from torch.nn import functional as F


class TorchNetwork(torch.nn.Module):
    """The C2D-NL R50 of configs/nonlocal.txt. Input float32 (N, 3, T, H, W), output logits (N, T', H', W', K)."""

    def __init__(self, values: Mapping[str, np.ndarray], *, window: tuple[int, int, int]) -> None:
        super().__init__()
        self.window = window
        for name, value in values.items():
            tensor = torch.from_numpy(np.array(value))
            if name.endswith(("_mean", "_variance")):
                self.register_buffer(name, tensor)
            else:
                self.register_parameter(name, torch.nn.Parameter(tensor))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self._bn("bn_conv1", F.conv3d(x, self.conv1_weights, stride=(1, 2, 2), padding=(0, 3, 3))))
        x = F.max_pool3d(x, (1, 3, 3), stride=(1, 2, 2))
        for stage, blocks in ((2, "abc"), (3, "abcd"), (4, "abcdef"), (5, "abc")):
            for index, letter in enumerate(blocks):
                x = self._bottleneck(f"{stage}{letter}", x, stride=2 if index == 0 and stage > 2 else 1)
                if stage in (3, 4) and index % 2 == 1:
                    x = self._nonlocal(f"nonlocal_conv{stage}_{index}", x)
            if stage == 2:
                x = F.max_pool3d(x, (2, 1, 1))
        x = F.avg_pool3d(x, self.window, stride=1).permute(0, 2, 3, 4, 1)
        return F.linear(x, self.pred_w.t(), self.pred_b)

    def _bn(self, name: str, x: torch.Tensor) -> torch.Tensor:
        mean, variance, scale, offset = (
            getattr(self, f"{name}_{part}") for part in ("mean", "variance", "scale", "offset")
        )
        return F.batch_norm(x, mean, variance, scale, offset, self.training, 0.1, 1e-5)

    def _bottleneck(self, name: str, x: torch.Tensor, *, stride: int) -> torch.Tensor:
        weights = {
            branch: getattr(self, f"res{name}_branch{branch}_weights", None) for branch in ("1", "2a", "2b", "2c")
        }
        y = F.relu(self._bn(f"bn{name}_branch2a", F.conv3d(x, weights["2a"])))
        y = F.conv3d(y, weights["2b"], stride=(1, stride, stride), padding=(0, 1, 1))
        y = self._bn(f"bn{name}_branch2c", F.conv3d(F.relu(self._bn(f"bn{name}_branch2b", y)), weights["2c"]))
        if weights["1"] is not None:
            x = self._bn(f"bn{name}_branch1", F.conv3d(x, weights["1"], stride=(1, stride, stride)))
        return F.relu(x + y)

    def _nonlocal(self, name: str, x: torch.Tensor) -> torch.Tensor:
        def pointwise(part: str, value: torch.Tensor) -> torch.Tensor:
            return F.conv3d(value, getattr(self, f"{name}_{part}_w"), getattr(self, f"{name}_{part}_b"))

        keys = F.max_pool3d(x, (1, 2, 2))
        theta, phi, g = (
            pointwise(part, value).flatten(2) for part, value in (("theta", x), ("phi", keys), ("g", keys))
        )
        weights = torch.softmax(theta.transpose(1, 2) @ phi * theta.shape[1] ** -0.5, dim=-1)
        y = (g @ weights.transpose(1, 2)).reshape(x.shape[0], -1, *x.shape[2:])
        return x + self._bn(f"{name}_bn", pointwise("out", y))
