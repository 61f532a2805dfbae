"""A network that is ready to score: as an earlier start left it in the user's cache folder, or made now and kept there.

Exporting a network, loading it into an engine and comparing both takes several seconds, and importing Paddle two more.
Nothing of it is done again for the same weights, config, engine, versions, processor and code.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from configs.comparison import network_keys
from configs.schema import Config, MultiViewSection
from datareader.building import build_test_plan
from engine.device import UseGpu, is_surely_cpu, select_device, use_all_cores
from engine.distributed import Processes, join_processes
from engine.network_identity import parameters_sha256
from engine.scoring.calibration import Calibration
from engine.scoring.runtimes import RUNTIMES, Precision, load_runtime
from engine.scoring.view_scorer import ExportedScorer, ViewScorer
from engine.weights_argument import files_of_weights
from models.registry import NETWORKS
from utils.errors import ConfigError, VideoToolkitError, WeightsError, one_line
from utils.hashing import sha256
from utils.kept_files import KeptFiles
from utils.logging import get_logger
from utils.processor import computing_threads, processor_description

_MOST_BYTES = 4 << 30  # thirty networks of the usual size
_PACKAGES = (
    "paddlepaddle",
    "paddle2onnx",
    "onnxruntime",
    "onnx",
    "numpy",
    *(runtime.package for runtime in RUNTIMES.values()),
)
_CODE = ("configs", "datareader", "engine", "models", "utils")  # of this project: what computes


@dataclass(frozen=True)
class ReadyNetwork:
    """A network as results need it: what scores its views, and what they say of it."""

    scorer: ViewScorer
    source: str  # where the weights came from
    parameters_sha256: str


def cache_folder() -> Path:
    """Where networks are kept: NETWORK_CACHE_HOME, by default ~/.cache/nonlocal_video."""
    return Path(os.environ.get("NETWORK_CACHE_HOME") or Path.home() / ".cache" / "nonlocal_video") / "networks"


def start_scoring(
    config: Config,
    section: MultiViewSection,
    weights: str | None,
    *,
    use_gpu: UseGpu,
    engine: str,
    precision: Precision | Literal["auto"],
    calibration: Calibration | None,
    use_cache: bool,
) -> tuple[ReadyNetwork, Processes]:
    """Make the network of a program ready, and join the other processes of its run.

    Args:
        section: TEST or INFER, whose views will be scored.
        weights: see `load_for_scoring`.
        engine, precision, calibration: see `open_scorer`.
        use_cache: look for the network among those that are kept, and keep it.
    """
    request = _Request(config, section, weights, engine, precision, calibration)
    is_alone = int(os.environ.get("PADDLE_TRAINERS_NUM", "1")) == 1
    is_cpu = is_surely_cpu(use_gpu)
    if is_alone and is_cpu and use_cache and (ready := request.kept()):
        return ready, join_processes("cpu")
    processes = join_processes(device := select_device(use_gpu))
    use_cache = use_cache and device == "cpu"
    if processes.count > 1 and precision == "auto":  # all compute in what the first one chooses
        ready = request.ready(use_cache) if processes.is_main else None
        chosen = processes.gather("" if ready is None else ready.scorer.precision.partition("-")[0])[0]
        if ready is None:
            ready = (use_cache and request.kept()) or replace(request, precision=chosen).ready(use_cache)
    else:
        ready = request.ready(use_cache)
    if len(found := set(processes.gather(ready.scorer.precision))) > 1:
        raise ConfigError(
            f"the processes of the run would compute in {' and '.join(sorted(found))}: give --precision, and "
            "--calibrate for int8, or --no_cache"
        )
    return ready, processes


def ready_on_this_device(
    config: Config,
    section: MultiViewSection,
    weights: str | None,
    *,
    engine: str,
    precision: Precision | Literal["auto"],
    calibration: Calibration | None = None,
) -> ReadyNetwork:
    """Make a network ready in a process that need not be a program of its own: see `start_scoring`."""
    request = _Request(config, section, weights, engine, precision, calibration)
    if is_surely_cpu("auto") and (ready := request.kept()):
        return ready
    return request.made(keep=select_device("auto") == "cpu")


@dataclass(frozen=True)
class _Request:
    """What is to be made ready."""

    config: Config
    section: MultiViewSection
    weights: str | None
    engine: str
    precision: Precision | Literal["auto"]
    calibration: Calibration | None

    def ready(self, use_cache: bool) -> ReadyNetwork:
        """Return the network that is kept, or make it."""
        return (use_cache and self.kept()) or self.made(keep=use_cache)

    def kept(self) -> ReadyNetwork | None:
        """Return the network as an earlier start left it, None if it did not, or anything is not as it was."""
        key = self._key()
        if not key or (found := _store().find(key)) is None:
            return None
        facts = found.facts
        try:
            engine, precision = facts["engine"], facts["precision"]
            if RUNTIMES[engine].package == "paddle":
                use_all_cores()
            score = load_runtime(engine, found.files, precision.partition("-")[0])
            ready = ReadyNetwork(ExportedScorer(engine, precision, score), facts["source"], facts["parameters_sha256"])
            lines = [(int(level), str(line)) for level, line in facts["lines"]]
        except (VideoToolkitError, KeyError, TypeError, ValueError) as error:
            get_logger().info("the kept network %s is made anew: %s", key, one_line(error))
            _store().remove(key)
            return None
        for level, line in lines:
            get_logger().log(level, "%s", line)
        get_logger().info("engine: %s %s, from %s (--no_cache makes it anew)", engine, precision, cache_folder())
        return ready

    def made(self, *, keep: bool) -> ReadyNetwork:
        """Make it, and keep it where an engine is given an exported network."""
        # Imported late: these need Paddle.
        from engine.network_loading import load_for_scoring, new_network
        from engine.scoring.scorers import open_scorer

        key = self._key() if keep else ""
        with _heard(logging.INFO) as lines:
            network = new_network(self.config)
            source = load_for_scoring(network, self.config, self.weights)
        parameters = parameters_sha256(network)

        def hold(scorer: ViewScorer, files: list[Path]) -> None:
            if not key or key != self._key():  # the file was written anew while it was read
                return
            facts = {
                "engine": scorer.engine, "precision": scorer.precision, "source": source,
                "parameters_sha256": parameters, "lines": [*lines, *warnings],
            }  # fmt: skip
            if reason := _store().keep(key, files, facts):
                get_logger().warning("the next start will not be faster: the network was not kept (%s)", reason)

        with _heard(logging.WARNING) as warnings:
            scorer = open_scorer(
                network, self.config, self.section, self.engine, self.precision,
                calibration=self.calibration, on_export=hold,
            )  # fmt: skip
        return ReadyNetwork(scorer, source, parameters)

    def _key(self) -> str:
        """Return what the network is kept under; empty if it cannot be said."""
        try:
            is_empty = self.weights is not None and not self.weights.strip()
            if is_empty or self.engine == "dygraph":
                return ""
            files = files_of_weights(self.weights or str(self._released()))
            if sum(file.stat().st_size for file in files) > _MOST_BYTES:
                return ""
            parts = {
                "weights": [self.weights, *((str(file.absolute()), sha256(file)) for file in files)],
                "network": network_keys(self.config, changeable=True),  # some decide which engine may compute it
                "views": self.section.view_size,
                "engine": self.engine,
                "precision": self.precision,
                "calibration": self._views_that_decide(),
                "versions": [_version(package) for package in _PACKAGES],
                "processor": [processor_description(), computing_threads()],
                "code": _code_sha256(),
            }
            cache_folder()
        except (VideoToolkitError, OSError, ValueError, RuntimeError):  # the way without a cache tells why
            return ""
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf-8", "surrogateescape")).hexdigest()[:32]

    def _views_that_decide(self) -> list[str]:
        """Return what says on which views a precision is fitted or chosen, as far as another choice is made on others.

        The choice of 'auto' serves for other videos that are scored, but not for others of --calibrate.
        """
        if self.precision not in ("int8", "auto"):
            return []
        told = [repr(build_test_plan(self.section)), f"{self.calibration is not None}"]
        if self.calibration is not None and (self.calibration.is_named or self.precision == "int8"):
            told.append(self.calibration.label)
        return told

    def _released(self) -> Path:
        released = NETWORKS[self.config.MODEL.name].released_weights()
        if released is None:
            raise WeightsError("nothing is released")
        return released.fetch_network(self.config)


def _store() -> KeptFiles:
    return KeptFiles(cache_folder(), most_bytes=_MOST_BYTES)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


@functools.cache
def _code_sha256() -> str:
    root = Path(__file__).resolve().parents[2]
    files = sorted(file for folder in _CODE for file in (root / folder).rglob("*.py"))
    return hashlib.sha256("".join(f"{file.relative_to(root)} {sha256(file)}\n" for file in files).encode()).hexdigest()


@contextlib.contextmanager
def _heard(level: int) -> Iterator[list[tuple[int, str]]]:
    """Collect what is told meanwhile; it is told again where the network is found kept."""
    lines: list[tuple[int, str]] = []
    listener = logging.Handler(level)
    listener.emit = lambda record: lines.append((record.levelno, record.getMessage()))
    get_logger().addHandler(listener)
    try:
        yield lines
    finally:
        get_logger().removeHandler(listener)
