"""Mixed precision: what it asks Paddle for. Paddle has none on CPUs, so nothing is computed in it here."""

import contextlib

import paddle
import pytest

from engine.training.mixed_precision import MixedPrecision
from engine.training.optimizer import build_optimizer
from utils.errors import DeviceError


@pytest.fixture
def asked(monkeypatch):
    """What Paddle was asked for: the names of the calls, and their arguments."""
    calls = []
    monkeypatch.setattr(paddle.amp, "decorate", lambda *args, **keys: calls.append(("decorate", keys)))
    monkeypatch.setattr(
        paddle.amp, "auto_cast", lambda **keys: calls.append(("auto_cast", keys)) or contextlib.nullcontext()
    )

    class Scaler:
        def __init__(self, **keys):
            calls.append(("scaler", keys))

    monkeypatch.setattr(paddle.amp, "GradScaler", Scaler)
    return calls


def opened(narrow, *overrides, device="gpu:0", loss_scale=None):
    network, config = narrow(*overrides)
    optimizer = build_optimizer(network, config.TRAIN)
    return MixedPrecision(config.TRAIN, network, optimizer, device=device, loss_scale=loss_scale)


def test_off_asks_for_nothing(narrow, asked):
    precision = opened(narrow, device="cpu")
    with precision.forward_pass():
        pass
    assert asked == []
    assert (precision.searches_scale, precision.loss_scale) == (False, None)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("level", ["O1", "O2"])
def test_the_type_decides_the_cast_and_the_loss_scale(narrow, asked, level, dtype):
    precision = opened(narrow, f"TRAIN.amp={level}", f"TRAIN.amp_dtype={dtype}")
    with precision.forward_pass():
        pass
    found = dict(asked)
    assert (found["auto_cast"]["level"], found["auto_cast"]["dtype"]) == (level, dtype)
    assert ("decorate" in found) == (level == "O2")
    if level == "O2":
        assert found["decorate"]["dtype"] == dtype
    assert ("scaler" in found) == precision.searches_scale == (dtype == "float16"), "bfloat16 has the range of float32"


def test_a_resumed_run_goes_on_with_its_loss_scale(narrow, asked):
    opened(narrow, "TRAIN.amp=O1", loss_scale=1024.0)
    assert dict(asked)["scaler"] == {"init_loss_scaling": 1024.0}


def test_there_is_none_on_a_cpu(narrow):
    with pytest.raises(DeviceError, match=r"TRAIN\.amp \(O1\) needs a GPU"):
        opened(narrow, "TRAIN.amp=O1", device="cpu")
