"""Settings that depend on the processor: kernels and threads."""

import os
import platform
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
    return max(1, usable_cores() // sharers)


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_vnni(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor adds products of 8-bit numbers up in 32 bits at once (VNNI, or the dot products of Arm)."""
    try:
        abilities = cpuinfo.read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return False
    return not {"avx512_vnni", "avx_vnni", "asimddp"}.isdisjoint(abilities)


def processor_description(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the name and the abilities of the processor, as the system states them."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    known = ("vendor_id", "model name", "flags", "CPU implementer", "CPU part", "Features")
    return "\n".join(line for line in lines if line.startswith(known)) or platform.machine()
