"""A self-test for GPUs: what the authors of this project could not run, because they had none.

    bash scripts/run_tests.sh --gpu

Networks and blocks against reference results, a training step against the CPU's, mixed precision, several GPUs, speed,
and engines. Every check has a process of its own; the table of all is printed and written to ``gpu_self_test.md``, for
an issue. The ordinary tests run the same checks on the CPU, with small networks (``--device cpu --small``).
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]  # run as a program, from any folder

import gpu_checks  # noqa: E402
from gpu_checks import Context, Row  # noqa: E402

from benchmarks.measuring import machine, print_table  # noqa: E402

# Training with 8 clips on each of 8 V100s, data included, s an iteration: MMAction2, docs/benchmark.md of July 2020.
PUBLISHED = (
    "I3D R50 8x8 on V100: MMAction2 25 clips/s a GPU (0.32 s an iteration), PySlowFast 14 (0.56 s); C2D has no row"
)


NO_TF32, TF32 = {"NVIDIA_TF32_OVERRIDE": "0"}, {"NVIDIA_TF32_OVERRIDE": "1"}
# name -> the check, its arguments, and the environment of its process
CHECKS: dict[str, tuple[Callable[..., Iterator[Row]], dict[str, Any], dict[str, str]]] = {
    "reference, fp32": (gpu_checks.networks_and_blocks, {"tf32": False}, NO_TF32),
    "reference, TF32": (gpu_checks.networks_and_blocks, {"tf32": True}, TF32),
    "step": (gpu_checks.training_step, {}, NO_TF32),
    "no AMP": (gpu_checks.mixed_precision, {"level": "off", "dtype": "float16"}, {}),
    **{
        f"{level} {dtype}": (gpu_checks.mixed_precision, {"level": level, "dtype": dtype}, {})
        for level in ("O1", "O2")
        for dtype in ("float16", "bfloat16")
    },
    "several": (gpu_checks.several_devices, {}, NO_TF32),
    "speed, fp32": (gpu_checks.speed, {"tf32": False, "level": "off"}, NO_TF32),
    "speed, TF32": (gpu_checks.speed, {"tf32": True, "level": "off"}, TF32),
    "speed, O1": (gpu_checks.speed, {"tf32": True, "level": "O1"}, {}),
    "engines": (gpu_checks.engines, {}, NO_TF32),
}
GPU_ONLY = ("O1 float16", "O1 bfloat16", "O2 float16", "O2 bfloat16", "speed, O1", "reference, TF32", "speed, TF32")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu", help="(%(default)s)")
    parser.add_argument("--small", action="store_true", help="small networks and few steps")
    parser.add_argument("--only", nargs="+", choices=CHECKS, metavar="CHECK", help=f"some of: {'; '.join(CHECKS)}")
    parser.add_argument("--out", type=Path, default=Path("gpu_self_test.md"), help="the report (%(default)s)")
    parser.add_argument("--check", nargs=3, metavar=("NAME", "FOLDER", "VIDEOS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.check:
        name, folder, videos = args.check
        return run_here(
            name, Context("gpu:0" if args.device == "gpu" else "cpu", args.small, Path(folder), Path(videos))
        )
    if args.device == "gpu" and (reason := no_gpu()):
        print(f"error: {reason}", file=sys.stderr)
        return 2
    names = [name for name in args.only or CHECKS if args.device == "gpu" or name not in GPU_ONLY]
    rows: list[Row] = []
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        make_videos(Path(folder) / "videos")
        for number, name in enumerate(names, start=1):
            print(f"{number} of {len(names)}: {name}", file=sys.stderr, flush=True)
            (own := Path(folder) / str(number)).mkdir()
            found, failure = run_in_process(name, own, Path(folder) / "videos", args)
            rows += found
            failures += [f"{name}:\n{failure}"] if failure else []
    return report(args.out, args.device, rows, failures)


def no_gpu() -> str:
    """Why Paddle cannot compute on a GPU; empty if it can."""
    import paddle

    if not paddle.device.is_compiled_with_cuda():
        return f"the installed Paddle {paddle.__version__} is a CPU build: pip install -r requirements-gpu.txt"
    return "" if paddle.device.cuda.device_count() else "Paddle sees no GPU (nvidia-smi shows those of the driver)"


def make_videos(folder: Path) -> None:
    """Generated videos of four classes."""
    subprocess.run(
        [sys.executable, str(ROOT / "tools" / "make_shapes_dataset.py"), str(folder), "--train", "8", "--val", "1",
         "--test", "1"], check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def run_in_process(name: str, folder: Path, videos: Path, args: argparse.Namespace) -> tuple[list[Row], str]:
    """Run a check; return its rows, and why it failed if it did."""
    command = [sys.executable, __file__, "--device", args.device, "--check", name, str(folder), str(videos)]
    done = subprocess.run(
        [*command, *(["--small"] if args.small else [])],
        env={**os.environ, **CHECKS[name][2]}, capture_output=True, text=True,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    rows = [Row(**json.loads(line)) for line in lines]
    failure = "" if done.returncode == 0 else (done.stderr.strip()[-4000:] or f"exit code {done.returncode}")
    return [*rows, *([Row(name, "the check failed: see below", "it ends", False)] if failure else [])], failure


def run_here(name: str, context: Context) -> int:
    """Run a check in this process, and print its rows as JSON."""
    import paddle

    from engine.device import use_all_cores

    if not context.is_gpu:
        use_all_cores()
    paddle.set_device(context.device)
    check, arguments, _ = CHECKS[name]
    for row in check(context, **arguments):
        print(json.dumps(asdict(row)), flush=True)
    return 0


def report(out: Path, device: str, rows: list[Row], failures: list[str]) -> int:
    """Print the table and write the report; 0 if nothing is wrong."""
    wrong = sum(row.is_right is False for row in rows)
    table = [{"check": row.check, "found": row.found, "wanted": row.wanted, "": row.verdict} for row in rows]
    with out.open("w", encoding="utf-8") as file:
        stdout, sys.stdout = sys.stdout, file
        try:
            print(f"# Self-test on {device}: {wrong} of {len(rows)} wrong\n\n{machine()}\n\n{platform.platform()}\n")
            print(f"```\n{nvidia_smi()}\n```\n")
            print_table(table)
            print(f"\nPublished: {PUBLISHED}")
            print("".join(f"\n## Failed: {failure.partition(':')[0]}\n\n```\n{failure}\n```\n" for failure in failures))
        finally:
            sys.stdout = stdout
    print_table(table)
    print(f"\npublished: {PUBLISHED}\n{wrong} of {len(rows)} wrong; the report, for an issue: {out}")
    return 1 if wrong else 0


def nvidia_smi() -> str:
    """What the driver says of the GPUs."""
    try:
        query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
        return subprocess.run(query, capture_output=True, text=True, timeout=60).stdout.strip() or "no GPU"
    except (OSError, subprocess.TimeoutExpired):
        return "no nvidia-smi"


if __name__ == "__main__":
    sys.exit(main())
