"""Settings that depend on the processor: kernels and threads."""

import os
from pathlib import Path

_OTHER_VENDORS = ("AuthenticAMD", "HygonGenuine")


def use_avx2_kernels(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Let Intel's MKL, which Paddle bundles, use its AVX2 kernels on processors of other makers.

    Without the variable MKL_DEBUG_CPU_TYPE the bundled version uses its slowest kernels there; matrix products were
    measured to be four times as fast with it. It must be set before the first product. A value that the user has set
    is kept.

    Returns:
        whether this processor needs the variable.
    """
    try:
        description = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux: nothing is known about the processor
        return False
    if not any(vendor in description for vendor in _OTHER_VENDORS) or " avx2 " not in description:
        return False
    os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "5")
    return True


def computing_threads(environment: Path | None = None, sharers: int | None = None) -> int:
    """Return the number of threads to compute with.

    This is the value of OMP_NUM_THREADS when the program started, or, if it was not set, this process's share of the
    usable cores. The value is read from /proc, because Paddle sets the variable to 1 when it is imported, and its
    launcher sets it for the processes that it starts.

    Args:
        environment: the environment of the program, a file of /proc.
        sharers: the number of processes of this run on this machine.
    """
    launched = os.environ.get("PADDLE_LOCAL_SIZE")  # set by the launcher
    if sharers is None:
        sharers = int(launched or 1)
    if environment is None:
        environment = Path(f"/proc/{os.getppid()}/environ" if launched else "/proc/self/environ")
    variables = environment.read_bytes().split(b"\0") if environment.is_file() else []
    for variable in variables:
        name, _, value = variable.partition(b"=")
        if name == b"OMP_NUM_THREADS" and value.isdigit() and int(value) > 0:
            return int(value)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // sharers)


def has_amx(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor multiplies matrices of bfloat16 numbers in hardware (Intel's AMX)."""
    try:
        return " amx_bf16" in cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
