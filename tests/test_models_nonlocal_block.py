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
    block = fill(NonLocalBlock(12, pairwise, use_maxpool=pool == "pool1", use_scale=scale == "scale1"))
    np.testing.assert_allclose(run(block, REFERENCE["input"]), REFERENCE[case], atol=1e-4)


def naive_block(values, x, pairwise):
    """Equations 1 to 6 of the paper with loops over positions; no pooling, no normalisation, scaled."""
    channels, positions = x.shape[0], x[0].size
    flat = x.reshape(channels, positions).astype(np.float64)

    def embed(suffix):
        weight = values[f"nonlocal_block_{suffix}_w"].reshape(-1, channels)
        return weight @ flat + values[f"nonlocal_block_{suffix}_b"][:, None]

    g = embed("g")
    theta, phi = (flat, flat) if pairwise == "gaussian" else (embed("theta"), embed("phi"))
    y = np.zeros_like(g)
    for i in range(positions):
        f = np.zeros(positions)
        for j in range(positions):
            if pairwise in ("gaussian", "embedded_gaussian"):
                f[j] = np.exp(theta[:, i] @ phi[:, j] / np.sqrt(len(theta)))
            elif pairwise == "dot_product":
                f[j] = theta[:, i] @ phi[:, j]
            else:
                both = np.concatenate([theta[:, i], phi[:, j]])
                f[j] = max(0.0, values["nonlocal_block_concat_w"].reshape(-1) @ both)
        total = f.sum() if pairwise in ("gaussian", "embedded_gaussian") else positions
        y[:, i] = g @ f / total
    out = values["nonlocal_block_out_w"].reshape(channels, -1) @ y + values["nonlocal_block_out_b"][:, None]
    return x + out.reshape(x.shape)


@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_against_naive_loops(pairwise):
    block = fill(NonLocalBlock(6, pairwise, use_maxpool=False, normalisation="none"))
    values = {name: value.numpy() for name, value in block.state_dict().items()}
    x = np.random.default_rng(1).standard_normal((2, 6, 2, 3, 4)).astype(np.float32)
    expected = np.stack([naive_block(values, sample, pairwise) for sample in x])
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


def test_chunks_are_never_larger_than_said(monkeypatch):
    block = fill(NonLocalBlock(6, chunk_size=7))
    sizes = []
    original = block._weights
    monkeypatch.setattr(block, "_weights", lambda query, key: sizes.append(query.shape[2]) or original(query, key))
    block(paddle.zeros([1, 6, 3, 4, 5]))
    assert sizes == [7] * 8 + [4]
