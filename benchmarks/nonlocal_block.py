"""Peak memory and time of the first non-local block of res3 (512 channels), whole and in query chunks.

    python benchmarks/nonlocal_block.py [--json FILE]

for clips of 8, 32 and 64 frames at 256 pixels: (1, 512, T / 2, 32, 32), evaluation mode, on the CPU. Each case runs in
a process of its own. 'block MB' is the peak memory less what the process held before the block ran.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a program, from any folder

from benchmarks.measuring import in_new_process, machine, median_seconds, peak_megabytes, print_table, write_rows

_FRAMES = (8, 32, 64)
_CHUNKS = (0, 4096, 1024, 256)
_CHANNELS, _SIDE = 512, 32


def run_case(num_frames: int, chunk_size: int) -> dict[str, float]:
    """Measure one case in this process."""
    import paddle

    from engine.device import use_all_cores
    from models.nonlocal_block import NonLocalBlock

    use_all_cores()
    block = NonLocalBlock(_CHANNELS, chunk_size=chunk_size)
    block.eval()
    x = paddle.rand([1, _CHANNELS, num_frames // 2, _SIDE, _SIDE])
    with paddle.no_grad():
        block(x[:, :, :, :4, :4])
        before = peak_megabytes()
        seconds = median_seconds(lambda: block(x).numpy(), repeats=3, warm_up=0)
    return {"seconds": seconds, "block MB": peak_megabytes() - before}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--case", nargs=2, type=int, metavar=("FRAMES", "CHUNK"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        print(json.dumps(run_case(*args.case)))
        return
    rows = []
    for num_frames in _FRAMES:
        queries = num_frames // 2 * _SIDE**2
        whole = None
        for chunk_size in _CHUNKS:
            found = in_new_process(__file__, ["--case", str(num_frames), str(chunk_size)])
            whole = whole or found
            row = {"frames": num_frames, "chunk": chunk_size or "whole"}
            row["affinity MB"] = (min(chunk_size, queries) or queries) * (queries // 4) * 4 / 1e6
            row |= found
            if "seconds" in found and "seconds" in whole:
                row["time / whole"] = found["seconds"] / whole["seconds"]
            rows.append(row)
    print(f"{machine()}\n")
    print_table(rows)
    write_rows(args.json, rows)


if __name__ == "__main__":
    main()
