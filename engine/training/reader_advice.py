"""What the readers cost while a training was profiled, and what would help.

A network on the CPU and its readers share the cores: what the readers take then shows as a slower forward and backward,
not as waiting.
"""

from dataclasses import dataclass

_WAITS = 0.1  # share of a step that is worth a remedy
_TAKES = 0.15  # share of the cores' time that is worth one
_BUSY = 0.85  # share of the cores' time from which on more processes find no core


@dataclass(frozen=True)
class ReaderCost:
    """Of the iterations that were measured.

    Attributes:
        cpu_seconds: of all reader processes.
        wall_seconds: of all iterations.
        waiting_seconds: of them, in which training waited for a batch.
        cores: that this process and its readers may use.
    """

    iterations: int
    num_processes: int
    cpu_seconds: float
    wall_seconds: float
    waiting_seconds: float
    cores: int
    is_cpu: bool  # the network computes on it too

    def lines(self) -> list[str]:
        """Return what the readers cost, and advice where there is any."""
        if not self.num_processes:
            return ["readers    in this process (num_reader_threads=0): all of their time is the phase reader"]
        used = self.cpu_seconds / self.wall_seconds  # cores
        told = (
            f"readers    {1e3 * self.cpu_seconds / self.iterations:.1f} ms of CPU time an iteration in "
            f"{self.num_processes} processes, {used:.2f} of {self.cores} cores"
        )
        advice = self._advice(used)
        return [told, f"advice: {advice}"] if advice else [told]

    def _advice(self, used: float) -> str:
        waits = self.waiting_seconds / self.wall_seconds
        cheaper = (
            "copies with near key frames are read in a fraction of the time "
            "(python tools/resize_videos.py ... --crf 23 --keyint 4)"
        )
        if waits >= _WAITS:
            lead = f"training waits for the readers {100 * waits:.0f} % of the time: "
            if used < _BUSY * self.num_processes:
                return f"{lead}they wait themselves, for the disk or for the network; a nearer disk, or smaller copies"
            if used < _BUSY * self.cores - (1 if self.is_cpu else 0):
                return f"{lead}raise TRAIN.num_reader_threads (now {self.num_processes}); {cheaper}"
            return f"{lead}all cores are busy; {cheaper}"
        if self.is_cpu and used >= _TAKES * self.cores:
            return (
                f"the readers take {100 * used / self.cores:.0f} % of the cores that the network computes on, which "
                f"shows as forward and backward; {cheaper}"
            )
        return ""
