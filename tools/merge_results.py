"""Average the probabilities of several tests of one list: two networks, two samplings, two seeds.

examples:
    python tools/merge_results.py output_a output_b --out both
    python tools/merge_results.py c2d_nl i3d_nl --out both --weights 1 2

Each input is a folder that test.py wrote, or its results_probs.pkl. A video counts as scored if all have scored it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a program, from any folder

from configs.arguments import positive_number, share
from configs.schema import Config, InferSection
from models.registry import NETWORKS
from utils.commandline import ProgramParser, run_program
from utils.errors import ConfigError, VideoToolkitError
from utils.json_text import parse_json
from utils.logging import setup_logging
from utils.text_file import read_text


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = ProgramParser(description=__doc__)
    tests = parser.add_argument_group("tests")
    tests.add_argument("results", nargs="+", type=Path, help="folder of a test, or its results_probs.pkl")
    tests.add_argument("--weights", nargs="+", type=positive_number, help="of each input in the mean (default: equal)")
    tests.add_argument(
        "--threshold",
        type=share,
        help="probability from which on a video has a class, or is of the second of two (that of the tests)",
    )
    output = parser.add_argument_group("what is written")
    output.add_argument("--out", type=Path, required=True, help="folder for the merged results")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    args = parse_arguments(argv)
    setup_logging()
    weights = args.weights or [1.0] * len(args.results)
    if len(weights) != len(args.results):
        raise ConfigError(f"--weights: {len(weights)} for {len(args.results)} results")

    import numpy as np

    from datareader.dataset import BadVideo
    from datareader.filelist import FileList
    from engine.class_names import read_class_names
    from engine.scoring.result_files import write_results
    from engine.scoring.video_scores import Evaluation
    from metrics.measures import measure

    files = [path / "results_probs.pkl" if path.is_dir() else path for path in args.results]
    if args.out.resolve() in [file.resolve().parent for file in files]:
        raise ConfigError(f"--out {args.out}: an input lies there, and would be overwritten; name another folder")
    tests = [read_probabilities(file) for file in files]
    paths, labels, first = tests[0]
    for file, (other_paths, other_labels, probabilities) in zip(files, tests, strict=True):
        if other_paths == paths and probabilities.shape != first.shape:
            raise ConfigError(f"{file}: {probabilities.shape[1]} classes, {files[0]} has {first.shape[1]}")
        if other_paths != paths or not np.array_equal(other_labels, labels):
            raise ConfigError(f"{file}: not of the same list as {files[0]}")
    mean = np.average([test[2] for test in tests], axis=0, weights=np.array(weights) / max(weights))
    if np.isnan(mean[:, 0]).all():  # NaN where one is
        raise ConfigError("no video is scored in all of the tests")
    unscored = []
    for index in np.flatnonzero(np.isnan(mean[:, 0])).tolist():
        lacking = [str(file) for file, test in zip(files, tests, strict=True) if np.isnan(test[2][index, 0])]
        unscored.append(BadVideo(index, paths[index], f"{paths[index]}: not scored in {', '.join(lacking)}"))
    facts = {"merged": [str(path) for path in args.results], "merge_weights": weights}
    origins = [origin_of_videos(file.with_name("results.json")) for file in files]
    source, config, names = origins[0]
    named = config.INFER.kinetics_labels
    class_names = names if named == InferSection().kinetics_labels else read_class_names(named, mean.shape[1])
    class_names = class_names if len(class_names) == mean.shape[1] else []
    thresholds = sorted({origin[1].TEST.threshold for origin in origins})
    if args.threshold is None and len(thresholds) > 1 and (labels.ndim == 2 or mean.shape[1] == 2):
        raise ConfigError(f"the tests have the thresholds {', '.join(map(str, thresholds))}: give one with --threshold")
    videos = FileList(source, paths, labels, data_root=config.TEST.data_root)
    measures = measure(mean, labels, threshold=args.threshold or thresholds[0], with_intervals=True)
    write_results(
        args.out,
        Evaluation(measures, None, mean, unscored),
        videos,
        facts,
        class_names=class_names,
        decode_timeout=config.TEST.decode_timeout,
        num_workers=config.TEST.num_reader_threads,
    )
    print("\n".join([*measures.lines(), f"results in      {args.out}"]))
    return 1 if unscored else 0


def origin_of_videos(results: Path) -> tuple[str, Config, list[str]]:
    """File list, config and class names of a test, as its results.json says; what it does not say is left out."""
    from configs.loading import parse_config

    try:
        content = parse_json(read_text(results))
        config = parse_config(content["config"], str(results), networks=NETWORKS)
        names = content.get("class_names", [])
        names = names if isinstance(names, list) and all(isinstance(name, str) for name in names) else []
        return str(content["file_list"]), config, names
    except (OSError, ValueError, KeyError, TypeError, AttributeError, VideoToolkitError):
        return "merged", Config(), []


def read_probabilities(file: Path) -> tuple[list[str], Any, Any]:
    """Paths, labels and probabilities float64 (N, K), with NaN rows, of a test; labels int64 (N,), or uint8 (N, K).

    Raises:
        ConfigError: the file is not one that test.py wrote.
    """
    import numpy as np

    from utils.pickles import load_data_pickle

    try:
        content = load_data_pickle(file)
        paths, labels, probabilities = (content[key] for key in ("paths", "labels", "probabilities"))
        labels, probabilities = np.asarray(labels), np.asarray(probabilities, np.float64)
        labels = labels.astype(np.uint8 if labels.ndim == 2 else np.int64)
        fits = (
            all(isinstance(path, str) for path in paths)
            and probabilities.ndim == 2
            and labels.shape in ((len(paths),), probabilities.shape)
            and len(probabilities) == len(paths) > 0
            and (
                np.isnan(probabilities).all(axis=1) | (np.isfinite(probabilities) & (probabilities >= 0)).all(axis=1)
            ).all()
            and 0 <= labels.min() <= labels.max() < (2 if labels.ndim == 2 else probabilities.shape[1])
        )
    except (VideoToolkitError, OSError, KeyError, TypeError, ValueError, IndexError) as error:
        raise ConfigError(f"{file}: no probabilities of a test there ({error})") from error
    if not fits:
        raise ConfigError(f"{file}: no probabilities of a test there")
    return list(paths), labels, probabilities


if __name__ == "__main__":
    sys.exit(run_program(main))
