"""Convert weights of any known format to a .pdparams or .safetensors file with the released names.

Example: python tools/convert_weights.py i3d_nonlocal_8x8_IN_pretrain_400k.pkl i3d_nl.safetensors
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from models.registry import NETWORKS
from utils.commandline import ProgramParser, run_program
from utils.errors import ConfigError, WeightsError
from utils.logging import get_logger, setup_logging

SUFFIXES = (".pdparams", ".safetensors")


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = ProgramParser(
        prog="convert_weights.py",
        description="Convert weights of any known format to a .pdparams or .safetensors file with the released names. "
        "Values stay as they are (2D kernels 2D); only the classifier is turned to [channels, classes]. With --config "
        "they are fitted to that network first: kernels repeated over time, BN folded to affine.",
        epilog="example: python tools/convert_weights.py r50.pth start.pdparams --config configs/i3d_nl_r50_8x8.txt",
    )
    files = parser.add_argument_group("files")
    files.add_argument("input", help="what --weights takes: checkpoint, file, folder, archive or URL")
    files.add_argument("output", type=Path, help="file to write; its suffix says the format: .pdparams or .safetensors")
    network = parser.add_argument_group("network")
    network.add_argument("--config", help="fit the weights to this network; what they lack is initialised")
    network.add_argument(
        "-o", "--override", action="append", default=[], metavar="SECTION.key=value", help="set one key of the config"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
    args = parse_arguments(argv)
    setup_logging()
    if args.output.suffix not in SUFFIXES:
        raise WeightsError(f"{args.output}: its suffix must be one of {', '.join(SUFFIXES)}")
    if args.output.with_suffix(".pdopt").exists():
        raise WeightsError(f"{args.output}: a checkpoint has this name, and would be damaged; name another file")

    from configs.loading import load_config, parse_config
    from engine.network_loading import fit_to_network, new_network
    from engine.weights_argument import read_weights_argument
    from models.weights.recognition import best_naming, recognised_keys, require_one_network
    from models.weights.settings import keys_that_names_do_not_tell, settings_text
    from models.weights.writing import released_values, write_weights

    config = load_config(args.config, args.override, networks=NETWORKS) if args.config else None
    weights = read_weights_argument(args.input, config.MODEL.name if config else None)
    format_, unknown = weights.file.container, list(weights.file.others)
    if config:
        network = new_network(config)
        fit_to_network(network, config, weights, partial=True)
        values = {name: value.numpy() for name, value in network.state_dict().items()}
        stated = keys_that_names_do_not_tell(config)
    elif weights.file.is_own:
        values = weights.file.arrays
        text = weights.save.description.config if weights.save else None
        try:
            stated = keys_that_names_do_not_tell(parse_config(text, args.input, networks=NETWORKS)) if text else {}
        except ConfigError:  # of a network that is not known any more
            stated = {}
    else:
        named, _ = best_naming(weights.file)
        require_one_network(named)
        format_, unknown = named.format, named.unknown
        values = released_values(named)
        stated = recognised_keys(weights.file)
        if named.lineages and "MODEL.lineage" not in stated:
            get_logger().info(
                "the file does not tell who trained it: give -o MODEL.lineage=%s wherever %s is used",
                " or ".join(named.lineages), args.output,
            )  # fmt: skip
    metadata = {"source": weights.source, "format": format_, "cfg": settings_text(stated)}
    write_weights(args.output, values, {name: text for name, text in metadata.items() if text})
    left = f"; {len(unknown)} without a place: {', '.join(unknown)}" if unknown else ""
    get_logger().info("%s (%s): %d arrays to %s%s", weights.source, format_, len(values), args.output, left)


if __name__ == "__main__":
    sys.exit(run_program(main))
