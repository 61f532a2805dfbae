"""The device that a run computes on. Paddle is imported when one is selected, not before."""

import importlib.metadata
import signal
from typing import Literal

from utils.errors import DeviceError
from utils.logging import get_logger
from utils.processor import computing_threads, use_avx2_kernels
from utils.signals import end_orderly_on_sigterm

UseGpu = Literal["true", "false", "auto"]


def use_all_cores() -> None:
    """Let matrix products and convolutions on the CPU use every core. By default Paddle uses one thread."""
    import paddle

    use_avx2_kernels()
    paddle.base.core.set_num_threads(computing_threads())


def select_device(use_gpu: UseGpu) -> str:
    """Make Paddle compute on a GPU or the CPU and return its name, ``gpu:0`` or ``cpu``.

    If the launcher started several processes, each takes the GPU that it was given.

    Raises:
        DeviceError: a GPU was asked for and there is none that this Paddle can use.
    """
    import paddle
    from paddle.distributed import ParallelEnv

    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:  # a program of this project, not one that imports it
        end_orderly_on_sigterm()

    built_for_gpu = paddle.device.is_compiled_with_cuda()
    count = paddle.device.cuda.device_count() if built_for_gpu else 0
    if use_gpu == "true" and not built_for_gpu:
        raise DeviceError(f"--use_gpu true: the installed Paddle {paddle.__version__} is a CPU build")
    if use_gpu == "true" and count == 0:
        raise DeviceError("--use_gpu true: no GPU is visible to Paddle")
    device = f"gpu:{ParallelEnv().device_id}" if use_gpu != "false" and count > 0 else "cpu"
    if device == "cpu":
        use_all_cores()
    paddle.set_device(device)
    get_logger().info("Paddle %s on %s", paddle.__version__, device)
    return device


def is_surely_cpu(use_gpu: UseGpu) -> bool:
    """Whether `select_device` will name the CPU, as far as this can be said without importing Paddle."""
    if use_gpu != "auto":
        return use_gpu == "false"
    return _is_installed("paddlepaddle") and not _is_installed("paddlepaddle-gpu")


def paddle_version() -> str:
    """Return the version of the installed Paddle."""
    for package in ("paddlepaddle-gpu", "paddlepaddle"):
        if _is_installed(package):
            return importlib.metadata.version(package)
    import paddle  # built by the user

    return paddle.__version__


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
