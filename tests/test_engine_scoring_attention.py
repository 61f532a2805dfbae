"""What blocks attend to: rows of the affinity against naive loops, drawn positions, the tool."""

import subprocess
import sys

import numpy as np
import paddle
import pytest
from conftest import ROOT, write_counting_video
from seeded_values import clip, fill

from configs.loading import dump_config
from engine.scoring.attention import BlockAttention, Query, attention_of_blocks
from engine.scoring.attention_picture import block_picture, strongest_keys
from models.nonlocal_block import NonLocalBlock
from models.registry import build_model
from models.weights.writing import write_weights


def naive_row(block, x, position):
    """f / C(x) of one query, for one sample x (C, T, H, W): loops over key positions. (T, H', W')."""
    values = {name: value.numpy().reshape(value.shape[0], -1) for name, value in block.state_dict().items()}
    c, t, h, w = x.shape
    frame, row, column = np.unravel_index(position, (t, h, w))
    frames = block.frames_per_group or t
    group = range(frame // frames * frames, (frame // frames + 1) * frames)
    pooled = x.reshape(c, t, h // 2, 2, w // 2, 2).max(axis=(3, 5)) if block.pool is not None else x

    def project(name, vector):
        return values[f"{block.name}_{name}_w"] @ vector + values[f"{block.name}_{name}_b"][:, 0]

    gaussian = block.pairwise == "gaussian"
    query = x[:, frame, row, column]
    query = query if gaussian else project("theta", query)
    out, keys = np.zeros(pooled.shape[1:]), []
    for place in [(f, i, j) for f in group for i in range(pooled.shape[2]) for j in range(pooled.shape[3])]:
        if block.pools_after and not gaussian:
            corners = [(place[0], 2 * place[1] + a, 2 * place[2] + b) for a in (0, 1) for b in (0, 1)]
            key = np.max([project("phi", x[(slice(None), *corner)]) for corner in corners], axis=0)
        else:
            key = pooled[(slice(None), *place)]
            key = key if gaussian else project("phi", key)
        if block.pairwise == "concatenation":
            weight = max(0.0, float(values[f"{block.name}_concat_w"].ravel() @ np.concatenate([query, key])))
        else:
            weight = float(query @ key) * (1 if block.pairwise == "dot_product" else block.scale)
        keys.append((place, weight))
    if block.pairwise in ("gaussian", "embedded_gaussian"):
        total = sum(np.exp(weight) for _, weight in keys)
        keys = [(place, np.exp(weight) / total) for place, weight in keys]
    else:
        keys = [(place, weight / len(keys)) for place, weight in keys]
    for place, weight in keys:
        out[place] = weight
    return out


@pytest.mark.parametrize("pairwise", ["embedded_gaussian", "gaussian", "dot_product", "concatenation"])
@pytest.mark.parametrize(
    "options", [{}, {"frames_per_group": 4}, {"pool": "none"}, {"pool": "after"}, {"chunk_size": 3}], ids=str
)
def test_rows_of_the_affinity(pairwise, options):
    block = fill(NonLocalBlock(6, pairwise, name="block", **options))
    x = clip("x", (1, 6, 8, 4, 6)) * 0.5
    positions = [100, 3, 191, 95, 3]  # both groups, in no order, one twice
    found = block.attention(paddle.to_tensor(x), positions).numpy()[0]
    for position, row in zip(positions, found, strict=True):
        np.testing.assert_allclose(row, naive_row(block, x[0], position), atol=1e-5)


@pytest.mark.parametrize(
    "overrides", [[], ["NONLOCAL.chunk_size=5"], ["MODEL.use_affine=True", "NONLOCAL.use_bn=False"]]
)
def test_attention_of_a_network(narrow, overrides):
    network, _ = narrow(*overrides)
    fill(network)
    view = np.random.default_rng(0).integers(0, 256, (3, 8, 64, 64), np.uint8)
    blocks, probabilities = attention_of_blocks(network, view, points=[(0.5, 0.25, 0.99)], whole=True)
    np.testing.assert_allclose(probabilities, network(paddle.to_tensor(view[None])).numpy()[0], atol=1e-6)
    assert [block.name.rpartition("_")[0].removesuffix("_group") for block in blocks] == [
        "nonlocal_conv3", "nonlocal_conv3", "nonlocal_conv4", "nonlocal_conv4", "nonlocal_conv4",
    ]  # fmt: skip
    assert [block.size for block in blocks] == [(4, 8, 8)] * 2 + [(4, 4, 4)] * 3
    for block in blocks:
        (query,) = block.queries
        assert (query.frame, query.row, query.column) == (2, block.size[1] // 4, block.size[2] - 1)
        assert query.weights.shape == (4, block.size[1] // 2, block.size[2] // 2)
        assert query.weights.sum() == pytest.approx(1, abs=1e-5)
        flat = np.ravel_multi_index((query.frame, query.row, query.column), block.size)
        np.testing.assert_allclose(block.affinity[flat], query.weights, atol=1e-6)
        assert block.affinity.shape == (np.prod(block.size), *query.weights.shape)
    blocks, _ = attention_of_blocks(network, view, strongest=2)
    for block in blocks:
        strengths = [query.strength for query in block.queries]
        assert strengths == sorted(block.strengths.ravel().tolist(), reverse=True)[:2]
        assert block.affinity is None


def test_strength_is_what_the_block_adds(narrow):
    """A block whose last scale is 0 adds nothing."""
    network, _ = narrow()
    fill(network)
    network.state_dict()["nonlocal_conv3_1_bn_scale"].set_value(np.zeros(32, np.float32))
    network.state_dict()["nonlocal_conv3_1_bn_offset"].set_value(np.zeros(32, np.float32))
    view = np.random.default_rng(0).integers(0, 256, (3, 8, 64, 64), np.uint8)
    blocks, _ = attention_of_blocks(network, view)
    assert not blocks[0].strengths.any()
    assert blocks[1].strengths.min() > 0


def test_the_strongest_keys():
    weights = np.zeros((2, 2, 3), np.float32)
    weights[1, 0, 2], weights[0, 1, 1], weights[0, 0, 0] = 0.5, 0.3, 0.2
    query = Query(0, 0, 0, 1.0, weights)
    assert strongest_keys(query, 2) == [(1, 0, 2, 0.5), (0, 1, 1, pytest.approx(0.3))]
    assert len(strongest_keys(query, 20)) == 3, "no arrows to weights of 0"


def test_a_picture_shows_the_frames_of_the_block_and_the_query(tmp_path):
    """Grey frames: what is coloured is drawn; the red dot lies where the query is."""
    import cv2

    view = np.full((3, 8, 64, 64), 128, np.uint8)
    weights = np.zeros((4, 4, 4), np.float32)
    weights[3, 3, 3] = 1.0
    block = BlockAttention("b", (4, 8, 8), [Query(1, 2, 5, 0.5, weights)], np.ones((4, 8, 8)), None, (1, 3, 5, 7))
    (tmp_path / "b.png").write_bytes(block_picture(view, block, top=20, title="a video"))
    picture = cv2.imread(str(tmp_path / "b.png")).astype(int)  # BGR
    grey = (np.abs(picture - 128).max(axis=2) <= 2) | (picture.max(axis=2) - picture.min(axis=2) > 40)
    columns = np.flatnonzero(grey.mean(axis=0) > 0.5)
    left, right = columns.min(), columns.max()
    red = (picture[:, :, 2] > 200) & (picture[:, :, 1] < 60) & (picture[:, :, 0] < 60)
    across = (np.flatnonzero(red.any(axis=0)).mean() - left) / (right - left)
    assert across == pytest.approx((68 + 5.5 * 8) / (4 * 68 - 4), abs=0.02)
    yellow = (picture[:, :, 2] > 220) & (picture[:, :, 1] > 180) & (picture[:, :, 0] < 90)
    reach = (np.flatnonzero(yellow.any(axis=0)).max() - left) / (right - left)
    assert reach == pytest.approx((3 * 68 + 7 * 8) / (4 * 68 - 4), abs=0.02)


@pytest.fixture
def show(narrow_config, tmp_path):
    """Run tools/show_attention.py; call it with more arguments."""
    config = narrow_config("INFER.crop_size=64", "INFER.jitter_scales=[64,64]")
    network = fill(build_model(config))
    (tmp_path / "config.txt").write_text(dump_config(config))
    write_weights(tmp_path / "w.pdparams", {k: v.numpy() for k, v in network.state_dict().items()}, {})
    write_counting_video(tmp_path / "a.mp4", 40)

    def run(*arguments):
        command = [sys.executable, str(ROOT / "tools" / "show_attention.py"), "--config=config.txt"]
        command += ["--weights=w.pdparams", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    return run


def test_the_tool(show, tmp_path):
    done = show("--video=a.mp4", "--query=3,10,60", "--query=7,63,0", "--whole")
    assert done.returncode == 0, done.stderr
    assert "a.mp4: class " in done.stdout
    names = ["nonlocal_conv3_1", "nonlocal_conv3_3", "nonlocal_conv4_1", "nonlocal_conv4_3", "nonlocal_conv4_5"]
    folder = tmp_path / "attention"
    assert {path.name for path in folder.iterdir()} == {*(f"attention_{name}.png" for name in names), "attention.npz"}
    with np.load(folder / "attention.npz") as arrays:
        assert arrays["view"].shape == (3, 8, 64, 64)
        assert arrays["nonlocal_conv3_1/queries"].tolist() == [[1, 7, 1], [3, 0, 7]]
        assert arrays["nonlocal_conv3_1/weights"].shape == (2, 4, 4, 4)
        assert arrays["nonlocal_conv4_5/affinity"].shape == (4 * 4 * 4, 4, 2, 2)


def test_the_strongest_positions_by_flag(show, tmp_path):
    done = show("--video=a.mp4", "--strongest=3", "--top=2", "--out=three")
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "three" / "attention.npz") as arrays:
        strengths = arrays["nonlocal_conv3_1/strengths"]
        places = [tuple(place) for place in arrays["nonlocal_conv3_1/queries"]]
        assert [strengths[place] for place in places] == sorted(strengths.ravel(), reverse=True)[:3]
        assert "nonlocal_conv3_1/affinity" not in arrays


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--video=gone.mp4"], r"gone.mp4: no such file"),
        (["--video=a.mp4", "--query=8,0,0"], "the clip has 8 frames of 64 x 64 pixels"),
        (["--video=a.mp4", "--query=x"], "x must be FRAME,X,Y"),
        (["--video=a.mp4", "-o", "NONLOCAL.conv3_nonlocal=False", "-o", "NONLOCAL.conv4_nonlocal=False"],
         "this network has no non-local blocks"),
    ],
)  # fmt: skip
def test_errors_of_the_tool(show, tmp_path, arguments, message):
    done = show(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "attention").exists()
