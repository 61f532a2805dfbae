"""The non-local block against reference results, against naive loops, and its initial state."""

import numpy as np
import paddle
import pytest
from conftest import ROOT
from seeded_values import fill

from models.nonlocal_block import NonLocalBlock

REFERENCE = np.load(ROOT / "tests" / "fixtures" / "nonlocal_block.npz")
PAIRWISE = ("embedded_gaussian", "gaussian", "dot_product", "concatenation")


def run(block, x):
    return block(paddle.to_tensor(x)).numpy()


@pytest.mark.parametrize("case", [name for name in REFERENCE.files if name != "input"])
def test_reference(case):
    pairwise, pool, scale = case.split(".")
    block = fill(NonLocalBlock(12, pairwise, pool="before" if pool == "pool1" else "none", use_scale=scale == "scale1"))
    np.testing.assert_allclose(run(block, REFERENCE["input"]), REFERENCE[case], atol=1e-4)


def pooled(flat, size):
    """The 1x2x2 max pool of channels x positions."""
    t, h, w = size
    return flat.reshape(-1, t, h // 2, 2, w // 2, 2).max(axis=(3, 5)).reshape(len(flat), -1)


def naive_block(values, x, pairwise, pool="none"):
    """Equations 1 to 6 of the paper with loops over positions; no normalisation, scaled."""
    channels, positions = x.shape[0], x[0].size
    flat = x.reshape(channels, positions).astype(np.float64)

    def embed(suffix, seen=flat):
        weight = values[f"nonlocal_block_{suffix}_w"].reshape(-1, channels)
        return weight @ seen + values[f"nonlocal_block_{suffix}_b"][:, None]

    keys = pooled(flat, x.shape[1:]) if pool == "before" else flat
    g = embed("g", keys)
    theta, phi = (flat, keys) if pairwise == "gaussian" else (embed("theta"), embed("phi", keys))
    if pool == "after":
        g, phi = pooled(g, x.shape[1:]), pooled(phi, x.shape[1:])
    y = np.zeros((len(g), positions))
    num_keys = phi.shape[1]
    for i in range(positions):
        f = np.zeros(num_keys)
        for j in range(num_keys):
            if pairwise in ("gaussian", "embedded_gaussian"):
                f[j] = np.exp(theta[:, i] @ phi[:, j] / np.sqrt(len(theta)))
            elif pairwise == "dot_product":
                f[j] = theta[:, i] @ phi[:, j]
            else:
                both = np.concatenate([theta[:, i], phi[:, j]])
                f[j] = max(0.0, values["nonlocal_block_concat_w"].reshape(-1) @ both)
        total = f.sum() if pairwise in ("gaussian", "embedded_gaussian") else num_keys
        y[:, i] = g @ f / total
    out = values["nonlocal_block_out_w"].reshape(channels, -1) @ y
    out += values.get("nonlocal_block_out_b", np.zeros(channels))[:, None]
    return x + out.reshape(x.shape)


@pytest.mark.parametrize("pool", ["before", "after", "none"])
@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_against_naive_loops(pairwise, pool):
    block = fill(NonLocalBlock(6, pairwise, pool=pool, out_bias=pool != "after", normalisation="none"))
    values = {name: value.numpy() for name, value in block.state_dict().items()}
    assert ("nonlocal_block_out_b" in values) == (pool != "after")
    x = np.random.default_rng(1).standard_normal((2, 6, 2, 4, 4)).astype(np.float32)
    expected = np.stack([naive_block(values, sample, pairwise, pool) for sample in x])
    np.testing.assert_allclose(run(block, x), expected, atol=1e-5)


@pytest.mark.parametrize("pairwise", PAIRWISE)
@pytest.mark.parametrize(
    "options",
    [{}, {"normalisation": "affine", "zero_init_conv": True}, {"normalisation": "none", "zero_init_conv": True}],
)
def test_a_new_block_is_the_identity(pairwise, options):
    block = NonLocalBlock(8, pairwise, **options)
    x = np.random.default_rng(0).standard_normal((1, 8, 3, 5, 6)).astype(np.float32)
    np.testing.assert_array_equal(run(block, x), x)


def test_groups_of_frames_do_not_see_one_another():
    grouped = fill(NonLocalBlock(6, frames_per_group=4))
    whole = fill(NonLocalBlock(6))
    x = np.random.default_rng(2).standard_normal((2, 6, 8, 4, 4)).astype(np.float32)
    expected = np.concatenate([run(whole, x[:, :, :4]), run(whole, x[:, :, 4:])], axis=2)
    np.testing.assert_allclose(run(grouped, x), expected, atol=1e-5)


def test_initial_values_follow_the_settings():
    block = NonLocalBlock(256, conv_init_std=0.03, name="nonlocal_conv3_1")
    values = {name: value.numpy() for name, value in block.state_dict().items()}
    assert values["nonlocal_conv3_1_theta_w"].std() == pytest.approx(0.03, rel=0.05)
    assert not values["nonlocal_conv3_1_theta_b"].any()
    assert not values["nonlocal_conv3_1_bn_scale"].any()


@pytest.mark.parametrize(
    ("options", "absent", "present"),
    [
        ({}, set(), {"theta_w", "theta_b", "phi_b", "g_b", "out_b", "bn_scale", "bn_variance"}),
        ({"use_bias": False}, {"theta_b", "phi_b", "g_b", "out_b"}, {"theta_w"}),
        ({"normalisation": "affine"}, {"bn_scale", "bn_mean"}, {"affine_s", "affine_b"}),
        ({"normalisation": "none"}, {"bn_scale", "affine_s"}, {"out_w"}),
        ({"pairwise": "gaussian"}, {"theta_w", "phi_w"}, {"g_w"}),
        ({"pairwise": "concatenation"}, set(), {"concat_w", "theta_w"}),
    ],
)
def test_parameter_names(options, absent, present):
    names = {name.removeprefix("nonlocal_block_") for name in NonLocalBlock(8, **options).state_dict()}
    assert present <= names
    assert not absent & names


@pytest.mark.parametrize("pairwise", PAIRWISE)
@pytest.mark.parametrize("chunk_size", [1, 7, 60, 1000])
def test_chunks_change_neither_result_nor_gradients(pairwise, chunk_size):
    x = np.random.default_rng(3).standard_normal((2, 6, 3, 4, 5)).astype(np.float32)
    results = []
    for size in (0, chunk_size):
        block = fill(NonLocalBlock(6, pairwise, chunk_size=size))
        given = paddle.to_tensor(x, stop_gradient=False)
        out = block(given)
        (out * paddle.to_tensor(x)).sum().backward()
        gradients = [given.grad] + [value.grad for value in block.parameters() if value.grad is not None]
        results.append([out.numpy(), *(gradient.numpy() for gradient in gradients)])
    assert len(results[0]) > 4
    for whole, chunked in zip(*results, strict=True):
        np.testing.assert_allclose(chunked, whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("chunk_size", "expected"), [(7, [7] * 8 + [4]), (1, [1] * 60), (0, [60]), (60, [60])])
def test_chunks_are_never_larger_than_said(monkeypatch, chunk_size, expected):
    block = fill(NonLocalBlock(6, chunk_size=chunk_size))
    sizes = []
    original = block._weights
    monkeypatch.setattr(block, "_weights", lambda query, key: sizes.append(query.shape[2]) or original(query, key))
    block(paddle.zeros([1, 6, 3, 4, 5]))
    assert sizes == expected


def naive_attention(values, x, pairwise, frames_per_group, position):
    """A row of f / C(x) with loops: x (C, T, H, W), one query position; (T, H / 2, W / 2), 0 outside of its group."""
    channels, t, h, w = x.shape
    frames = frames_per_group or t
    pooled = x.reshape(channels, t, h // 2, 2, w // 2, 2).max(axis=(3, 5))
    first = position // (frames * h * w) * frames
    keys = pooled[:, first : first + frames].reshape(channels, -1).astype(np.float64)
    query = x.reshape(channels, -1)[:, position].astype(np.float64)
    if pairwise != "gaussian":
        weights = {s: values[f"nonlocal_block_{s}_w"].reshape(-1, channels) for s in ("theta", "phi")}
        query = weights["theta"] @ query + values["nonlocal_block_theta_b"]
        keys = weights["phi"] @ keys + values["nonlocal_block_phi_b"][:, None]
    f = query @ keys
    if pairwise == "concatenation":
        w_f = values["nonlocal_block_concat_w"].reshape(-1)
        f = np.maximum(w_f[: len(query)] @ query + w_f[len(query) :] @ keys, 0)
    f = np.exp(f / np.sqrt(len(query))) if pairwise in ("gaussian", "embedded_gaussian") else f
    total = f.sum() if pairwise in ("gaussian", "embedded_gaussian") else keys.shape[1]
    row = np.zeros((t, h // 2, w // 2))
    row[first : first + frames] = (f / total).reshape(frames, h // 2, w // 2)
    return row


@pytest.mark.parametrize("frames_per_group", [0, 2])
@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_rows_of_the_affinity(pairwise, frames_per_group):
    """Positions of several groups in any order, one of them twice."""
    block = fill(NonLocalBlock(6, pairwise, frames_per_group=frames_per_group))
    values = {name: value.numpy() for name, value in block.state_dict().items()}
    x = np.random.default_rng(1).standard_normal((2, 6, 4, 4, 6)).astype(np.float32)
    positions = [95, 3, 50, 3, 24, 71]
    found = block.attention(paddle.to_tensor(x), positions).numpy()
    assert found.shape == (2, 6, 4, 2, 3)
    expected = [[naive_attention(values, sample, pairwise, frames_per_group, p) for p in positions] for sample in x]
    np.testing.assert_allclose(found, np.array(expected), atol=1e-5)


def counted(block, shape, monkeypatch):
    """Multiply-adds of a real pass by hooks, and the numbers of elements of what it keeps."""
    macs, kept = [0], [0]

    def count_convolution(layer, inputs, output):
        macs[0] += output.size * int(np.prod(layer.weight.shape[1:]))
        kept[0] += output.size

    for layer in block.sublayers():
        if isinstance(layer, paddle.nn.Conv3D):
            layer.register_forward_post_hook(count_convolution)
        if isinstance(layer, paddle.nn.MaxPool3D):
            layer.register_forward_post_hook(lambda layer, x, y: kept.__setitem__(0, kept[0] + y.size))
    matmul = paddle.matmul

    def counting_matmul(x, y, transpose_x=False, transpose_y=False):
        out = matmul(x, y, transpose_x, transpose_y)
        macs[0] += out.size * (x.shape[-2] if transpose_x else x.shape[-1])
        if transpose_x:
            kept[0] += out.size  # the affinity
        if transpose_y:
            kept[0] += out.size  # y
        return out

    with monkeypatch.context() as patch:
        patch.setattr(paddle, "matmul", counting_matmul)
        output = block(paddle.zeros(shape))
    return macs[0], kept[0] + output.size


@pytest.mark.parametrize("pool", ["before", "after", "none"])
@pytest.mark.parametrize("frames_per_group", [0, 2])
@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_costs_are_those_of_a_real_pass(pairwise, frames_per_group, pool, monkeypatch):
    block = NonLocalBlock(6, pairwise, frames_per_group=frames_per_group, pool=pool)
    cost = block.cost((6, 4, 4, 8))
    macs, kept = counted(block, [1, 6, 4, 4, 8], monkeypatch)
    assert cost.output == (6, 4, 4, 8)
    assert cost.macs == cost.nonlocal_macs == macs
    assert cost.is_block
    queries, keys = 4 * 4 * 8, 4 * 4 * 8 // (1 if pool == "none" else 4)
    pairs = queries * keys // (2 if frames_per_group else 1)
    assert cost.affinity == pairs
    if pairwise == "concatenation":  # no product of two matrices gives its affinity
        kept += pairs
    assert cost.kept == kept


@pytest.mark.parametrize(("chunk", "at_once"), [(0, 128), (10, 10), (127, 127), (500, 128)])
def test_chunks_bound_the_affinity(chunk, at_once):
    assert NonLocalBlock(6, chunk_size=chunk).cost((6, 4, 4, 8)).affinity == at_once * 32
    grouped = NonLocalBlock(6, chunk_size=chunk, frames_per_group=2).cost((6, 4, 4, 8))
    assert grouped.affinity == 2 * min(at_once, 64) * 16


@pytest.mark.parametrize("chunk", [1, 7, 24, 25])
@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_chunks_of_any_size_give_the_same(pairwise, chunk):
    whole, parts = fill(NonLocalBlock(6, pairwise)), fill(NonLocalBlock(6, pairwise, chunk_size=chunk))
    x = np.random.default_rng(2).standard_normal((2, 6, 2, 2, 6)).astype(np.float32)
    np.testing.assert_allclose(run(parts, x), run(whole, x), atol=1e-6)


def test_the_defaults_are_the_released_block():
    """Embedded Gaussian, pooled keys, bias, BN of momentum 0.9 and epsilon 1e-5, scale 0, half the channels inside."""
    paddle.seed(0)
    block = NonLocalBlock(256)
    values = {name: value.numpy() for name, value in block.state_dict().items()}
    assert set(values) == {
        *(f"nonlocal_block_{part}_{kind}" for part in ("theta", "phi", "g", "out") for kind in "wb"),
        *(f"nonlocal_block_bn_{part}" for part in ("scale", "offset", "mean", "variance")),
    }
    assert (block.name, block.pairwise, block.chunk_size, block.frames_per_group) == (
        "nonlocal_block", "embedded_gaussian", 0, 0,
    )  # fmt: skip
    assert block.inner_channels == 128 and block.scale == 128**-0.5
    assert block.pool.geometry.kernel == (1, 2, 2)
    for part in ("theta", "phi", "g", "out"):
        assert values[f"nonlocal_block_{part}_w"].std() == pytest.approx(0.01, rel=0.03)
        assert not values[f"nonlocal_block_{part}_b"].any()
    assert not values["nonlocal_block_bn_scale"].any()
    assert (block.normalise._momentum, block.normalise._epsilon) == (0.9, 1e-5)


def test_settings_of_initial_values():
    paddle.seed(0)
    block = NonLocalBlock(256, "concatenation", conv_init_std=0.05, zero_init_conv=True, bn_initial_scale=0.5)
    values = {name: value.numpy() for name, value in block.state_dict().items()}
    assert not values["nonlocal_block_out_w"].any()
    assert values["nonlocal_block_g_w"].std() == pytest.approx(0.05, rel=0.03)
    assert values["nonlocal_block_concat_w"].std() == pytest.approx(0.05, rel=0.2)
    assert abs(values["nonlocal_block_concat_w"].mean()) < 0.02
    assert "nonlocal_block_concat_b" not in values
    assert (values["nonlocal_block_bn_scale"] == 0.5).all()
    without = NonLocalBlock(8, use_bias=False, normalisation="affine").state_dict()
    assert not [name for name in without if name.endswith("_b") and "affine" not in name]
    assert not [value for value in without.values() if value.stop_gradient is False and value.ndim == 1]
    trained = NonLocalBlock(8, normalisation="affine", train_affine=True).state_dict()
    assert not trained["nonlocal_block_affine_s"].stop_gradient


@pytest.mark.parametrize(("channels", "inner", "expected"), [(1, None, 1), (9, None, 4), (8, 3, 3)])
def test_inner_channels(channels, inner, expected):
    block = NonLocalBlock(channels, inner_channels=inner)
    assert block.inner_channels == expected
    assert block.g.weight.shape[:2] == [expected, channels]


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_every_parameter_has_a_saved_name(pairwise, use_bias):
    block = NonLocalBlock(8, pairwise=pairwise, use_bias=use_bias)
    assert {id(value) for value in block.parameters()} <= {id(value) for value in block.state_dict().values()}


class _Around(paddle.nn.Layer):
    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, x):
        return self.block(x)


@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_a_block_of_free_sizes(pairwise, tmp_path):
    """Exported without N, H and W, it counts its keys itself."""
    block = NonLocalBlock(6, pairwise=pairwise, bn_initial_scale=0.7, conv_init_std=0.3)
    block.eval()
    spec = paddle.static.InputSpec([None, 6, 2, None, None], "float32")
    block.forward = paddle.jit.not_to_static(block.forward)  # as in a network: the code is run as it stands
    paddle.jit.save(paddle.jit.to_static(_Around(block), input_spec=[spec], full_graph=True), str(tmp_path / "block"))
    exported = paddle.jit.load(str(tmp_path / "block"))
    exported.eval()
    random = np.random.default_rng(5)
    for shape in ((2, 6, 2, 4, 6), (1, 6, 2, 8, 8)):
        x = paddle.to_tensor(random.standard_normal(shape).astype(np.float32))
        np.testing.assert_allclose(exported(x).numpy(), run(block, x.numpy()), rtol=0, atol=2e-5)


def test_costs_of_groups_are_whole_numbers():
    """8 frames of 4 x 6 in groups of 4: 2 * 96 queries, each with 24 keys in its group."""
    block = NonLocalBlock(8, frames_per_group=4)
    cost = block.cost((8, 8, 4, 6))
    assert cost.affinity == 2 * 96 * 24 and type(cost.affinity) is type(cost.macs) is type(cost.kept) is int


def test_folding_leaves_no_normalisation():
    block = NonLocalBlock(8, use_bias=True, bn_initial_scale=0.5)
    block.eval()
    x = np.random.default_rng(6).standard_normal((1, 8, 2, 4, 4)).astype(np.float32)
    before = run(block, x)
    block.fold_normalisation()
    assert not any(isinstance(layer, paddle.nn.BatchNorm3D) for layer in block.sublayers())
    np.testing.assert_allclose(run(block, x), before, rtol=0, atol=1e-6)
