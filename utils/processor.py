"""What the processor needs to be told before it computes fast."""

import os
from pathlib import Path

_OTHER_VENDORS = ("AuthenticAMD", "HygonGenuine")


def use_avx2_kernels(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Let Intel's MKL, which Paddle bundles, use its AVX2 kernels on processors of other makers; return whether it did.

    The bundled version takes its slowest path there unless this variable names a better one; matrix products were
    measured to be four times as fast with it. It must be set before the first product. A value that the user set stays.
    """
    try:
        description = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux: nothing is known, nothing is changed
        return False
    if not any(vendor in description for vendor in _OTHER_VENDORS) or " avx2 " not in description:
        return False
    os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "5")
    return True


def computing_threads(environment: Path | None = None, sharers: int | None = None) -> int:
    """Threads to compute with: what OMP_NUM_THREADS said when the program started, else this process's share of the
    usable cores.

    Asked of the system, because Paddle, once imported, has set the variable to 1 where it was not set; so has Paddle's
    launcher, for the processes that it starts.

    Args:
        environment: of the program, as the system shows it.
        sharers: processes of this run on this machine.
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
