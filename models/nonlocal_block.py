"""The non-local block: every position of a feature map looks at every other one.

Source: Wang et al., "Non-local Neural Networks", CVPR 2018, sections 3.1 to 3.3.
Legend: N batch, C channels, T frames, H, W; d inner channels; P query positions (T*H*W), M key positions
(P, or P / 4 after max pooling).
"""

from collections.abc import Sequence
from math import prod
from typing import Literal

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F

from models.complexity import LayerCost, MapSize
from models.layers import Affine, MaxPool, NamedNetwork, batch_norm, fold_into, sizes, with_names
from models.nonlocal_config import Pairwise


class NonLocalBlock(NamedNetwork):
    """z = x + BN(W y), y_i = 1/C(x) * sum_j f(x_i, x_j) g(x_j): equations 1 and 6. (N, C, T, H, W) to the same.

    As released the block is the identity at first: its BN scale is initialised to 0 (NONLOCAL.bn_init_gamma).

    Args:
        channels: C.
        pairwise: f. embedded_gaussian: softmax over j of theta_i . phi_j (equation 4); gaussian: softmax of
            x_i . x_j (equation 2); dot_product: theta_i . phi_j / M (equation 5); concatenation:
            ReLU(w_f . [theta_i, phi_j]) / M (equation 5 of the concatenation form).
        name: prefix of the saved parameter names.
        inner_channels: d; half of C by default.
        pool: 'before': g and phi (for gaussian: the keys) are computed from the input after a 1x2x2 max pool; 'after':
            g, phi and the keys are max-pooled themselves; 'none'.
        use_scale: multiply a Gaussian affinity by (width of its product)^-0.5. This is in the authors' code, not in the
            paper.
        use_bias: of all four convolutions.
        out_bias: of the last convolution, where the others have one.
        normalisation: what follows the last convolution.
        zero_init_conv: start the last convolution at 0.
        chunk_size: query positions that are computed at once, 0 = all. The result is the same, but the affinity, the
            largest tensor of the network, is never in memory as a whole. (In training its parts are kept for the
            backward pass.)
        frames_per_group: 0: every position attends to the whole clip. Otherwise a position attends only to the frames
            of its own group, and T must be a multiple of this number (the authors' long clips).
    """

    def __init__(
        self,
        channels: int,
        pairwise: Pairwise = "embedded_gaussian",
        *,
        name: str = "nonlocal_block",
        inner_channels: int | None = None,
        pool: Literal["before", "after", "none"] = "before",
        use_scale: bool = True,
        use_bias: bool = True,
        out_bias: bool = True,
        normalisation: Literal["bn", "affine", "none"] = "bn",
        zero_init_conv: bool = False,
        chunk_size: int = 0,
        frames_per_group: int = 0,
        conv_init_std: float = 0.01,
        bn_momentum: float = 0.9,
        bn_epsilon: float = 1e-5,
        bn_initial_scale: float = 0.0,
        train_affine: bool = False,
    ) -> None:
        super().__init__()
        inner = inner_channels or max(channels // 2, 1)
        self.name = name
        self.pairwise = pairwise
        self.inner_channels = inner
        self.chunk_size = chunk_size
        self.frames_per_group = frames_per_group
        self.scale = (channels if pairwise == "gaussian" else inner) ** -0.5 if use_scale else 1.0

        def pointwise(
            suffix: str, in_channels: int, out_channels: int, std: float = conv_init_std, has_bias: bool = use_bias
        ) -> nn.Layer:
            layer = nn.Conv3D(
                in_channels,
                out_channels,
                kernel_size=1,
                weight_attr=paddle.ParamAttr(initializer=nn.initializer.Normal(0.0, std)),
                bias_attr=paddle.ParamAttr(initializer=nn.initializer.Constant(0.0)) if has_bias else False,
            )
            names = {"weight": f"{name}_{suffix}_w"} | ({"bias": f"{name}_{suffix}_b"} if has_bias else {})
            return with_names(layer, **names)

        self.pool = MaxPool((1, 2, 2), stride=(1, 2, 2)) if pool != "none" else None
        self.pools_after = pool == "after"
        self.g = pointwise("g", channels, inner)
        if pairwise != "gaussian":
            self.theta = pointwise("theta", channels, inner)
            self.phi = pointwise("phi", channels, inner)
        if pairwise == "concatenation":
            normal = paddle.ParamAttr(initializer=nn.initializer.Normal(0.0, conv_init_std))
            w_f = nn.Conv3D(2 * inner, 1, kernel_size=1, weight_attr=normal, bias_attr=False)
            self.concat = with_names(w_f, weight=f"{name}_concat_w")
        self.out = pointwise("out", inner, channels, 0.0 if zero_init_conv else conv_init_std, use_bias and out_bias)
        if normalisation == "bn":
            self.normalise = batch_norm(
                f"{name}_bn", channels, momentum=bn_momentum, epsilon=bn_epsilon, initial_scale=bn_initial_scale
            )
        elif normalisation == "affine":
            affine = Affine(channels, trainable=train_affine)
            self.normalise = with_names(affine, scale=f"{name}_affine_s", offset=f"{name}_affine_b")
        else:
            self.normalise = nn.Identity()

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if not self.frames_per_group:
            y = self._attend(x)
        else:
            grouped = _fold_groups(x, self.frames_per_group)  # (N * T / 4, C, 4, H, W)
            y = _unfold_groups(self._attend(grouped), self.frames_per_group, sizes(x))
        return x + self.normalise(self.out(y))

    def _attend(self, x: paddle.Tensor) -> paddle.Tensor:
        """Return y of equation 1, before W is applied: (N, C, T, H, W) to (N, d, T, H, W)."""
        keys = self._keys(x)
        query, key = self._query(x), self._key(keys)  # (N, d, P), (N, d, M)
        g = self._pooled_after(self.g(keys)).flatten(2)  # (N, d, M)
        num_queries = query.shape[2]  # -1 in an export that leaves the size free: no chunks then
        if not 0 < self.chunk_size < num_queries:
            y = paddle.matmul(g, self._weights(query, key), transpose_y=True)  # (N, d, P)
        else:
            parts = []
            for start in range(0, num_queries, self.chunk_size):
                weights = self._weights(query[:, :, start : start + self.chunk_size], key)  # (N, chunk, M)
                parts.append(paddle.matmul(g, weights, transpose_y=True))  # (N, d, chunk)
            y = paddle.concat(parts, axis=2)  # (N, d, P)
        return y.reshape([0, self.inner_channels, *sizes(x)[2:]])  # (N, d, T, H, W)

    def attention(self, x: paddle.Tensor, positions: Sequence[int]) -> paddle.Tensor:
        """Return how much some positions attend to every key position: rows of f / C(x).

        Args:
            x: the block's input (N, C, T, H, W).
            positions: of the Q queries, each (t * H + y) * W + x.

        Returns:
            (N, Q, T, H / 2, W / 2), without max pooling (N, Q, T, H, W). Frames outside a position's group are 0.
        """
        n, t, h, w = x.shape[0], *x.shape[2:]
        frames = self.frames_per_group or t
        key_size = (h, w) if self.pool is None else (h // 2, w // 2)
        groups = np.asarray(positions) // (frames * h * w)  # (Q,)
        parts, places = [], []
        for group in np.unique(groups).tolist():
            own = slice(group * frames, (group + 1) * frames)
            keys = self._keys(x[:, :, own])
            inside = np.asarray(positions)[groups == group] % (frames * h * w)
            query = self._query(x[:, :, own]).index_select(paddle.to_tensor(inside), axis=2)  # (N, d, queries)
            rows = self._weights(query, self._key(keys)).reshape([n, len(inside), frames, *key_size])
            before, after = (paddle.zeros([n, len(inside), k, *key_size]) for k in (own.start, t - own.stop))
            parts.append(paddle.concat([before, rows, after], axis=2))  # (N, queries, T, H / 2, W / 2)
            places.append(np.flatnonzero(groups == group))
        order = np.argsort(np.concatenate(places))
        return paddle.concat(parts, axis=1).index_select(paddle.to_tensor(order), axis=1)

    def cost(self, size: MapSize) -> LayerCost:
        """Return what the block costs: its projections, and the two matrix products over all pairs of positions."""
        channels, *queries = size
        keys = self.pool.geometry.output_size(tuple(queries)) if self.pool is not None else queries
        num_queries, num_keys, inner = prod(queries), prod(keys), self.inner_channels
        num_projected = num_queries if self.pools_after else num_keys  # places that phi and g are computed at
        groups = queries[0] // self.frames_per_group if self.frames_per_group else 1
        pairs = num_queries * num_keys // groups
        macs = (num_projected + num_queries) * channels * inner + pairs * inner  # g and out, y
        kept = inner * (num_queries + num_keys) + pairs + 2 * channels * num_queries  # y and g, f, out and z
        if self.pairwise == "gaussian":
            macs += pairs * channels
        else:
            macs += (num_queries + num_projected) * channels * inner  # theta, phi
            # w_f . [theta_i, phi_j] needs no product for each pair: see `_weights`.
            macs += (num_queries + num_keys) * inner if self.pairwise == "concatenation" else pairs * inner
            kept += inner * (num_queries + num_keys)
        if self.pool is not None and (not self.pools_after or self.pairwise == "gaussian"):
            kept += channels * num_keys
        if self.pools_after:
            kept += inner * num_projected * (1 if self.pairwise == "gaussian" else 2)  # before they are pooled
        queries_at_once = min(self.chunk_size or num_queries, num_queries // groups)
        affinity = groups * queries_at_once * (num_keys // groups)
        return LayerCost(size, macs=macs, nonlocal_macs=macs, affinity=affinity, kept=kept, is_block=True)

    def fold_normalisation(self) -> None:
        """Fold the BN or affine layer into the last convolution."""
        self.normalise = fold_into(self.out, self.normalise)

    def _keys(self, x: paddle.Tensor) -> paddle.Tensor:
        """Return the input of g and phi."""
        return x if self.pool is None or self.pools_after else self.pool(x)

    def _pooled_after(self, projected: paddle.Tensor) -> paddle.Tensor:
        return self.pool(projected) if self.pools_after else projected

    def _query(self, x: paddle.Tensor) -> paddle.Tensor:
        return (x if self.pairwise == "gaussian" else self.theta(x)).flatten(2)  # (N, d, P)

    def _key(self, keys: paddle.Tensor) -> paddle.Tensor:
        return self._pooled_after(keys if self.pairwise == "gaussian" else self.phi(keys)).flatten(2)  # (N, d, M)

    def _weights(self, query: paddle.Tensor, key: paddle.Tensor) -> paddle.Tensor:
        """Return the normalised f: (N, d, P) and (N, d, M) to (N, P, M)."""
        if self.pairwise == "concatenation":
            w_query, w_key = paddle.split(self.concat.weight.reshape([1, 1, -1]), 2, axis=2)  # (1, 1, d) each
            # w_f . [theta_i, phi_j] is the sum of a term of i and a term of j: no tensor (N, 2d, P, M) is needed.
            f = paddle.matmul(w_query, query).transpose([0, 2, 1]) + paddle.matmul(w_key, key)  # (N, P, M)
            return F.relu(f) / _count(key)
        affinity = paddle.matmul(query, key, transpose_x=True)  # (N, P, M)
        if self.pairwise == "dot_product":
            return affinity / _count(key)
        return F.softmax(affinity * self.scale, axis=-1)


def _count(key: paddle.Tensor) -> int | paddle.Tensor:
    """Return M of keys (N, d, M); in an export that leaves M free, a tensor (N, 1, 1) that counts it."""
    number = sizes(key)[2]
    return number if isinstance(number, int) else (key[:, :1] * 0 + 1).sum(axis=2, keepdim=True)


def _fold_groups(x: paddle.Tensor, frames: int) -> paddle.Tensor:
    """Fold groups of frames into the batch: (N, C, T, H, W) to (N * T / frames, C, frames, H, W)."""
    n, c, t, h, w = sizes(x)
    x = x.reshape([n, c, t // frames, frames, h, w]).transpose([0, 2, 1, 3, 4, 5])  # (N, groups, C, frames, H, W)
    return x.reshape([n * (t // frames), c, frames, h, w])


def _unfold_groups(x: paddle.Tensor, frames: int, unfolded: Sequence[int]) -> paddle.Tensor:
    """Undo `_fold_groups`: (N * groups, C, frames, H, W) to (N, C, T, H, W). `unfolded`: N, any, T, H, W."""
    n, _, t, h, w = unfolded
    c = x.shape[1]
    x = x.reshape([n, t // frames, c, frames, h, w]).transpose([0, 2, 1, 3, 4, 5])
    return x.reshape([n, c, t, h, w])
