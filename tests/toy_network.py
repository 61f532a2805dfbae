"""A toy network and its registration: what somebody writes who adds a network. Also runs a program with it:

python toy_network.py train.py --config toy.txt ...
"""

import runpy
import sys
from dataclasses import dataclass
from pathlib import Path

from configs.fields import Section, setting
from configs.schema import Config
from models.registry import NETWORKS, NetworkEntry


@dataclass(frozen=True, kw_only=True)
class ToySection(Section):
    """The toy network's own keys."""

    channels: int = setting(8, "of the second stage", at_least=1)


@dataclass(frozen=True, kw_only=True)
class ToyConfig(Config):
    """A run of the toy network with a section of its own."""

    TOY: ToySection = ToySection()


def build_toy(config):
    from models.head import SlidingHead
    from models.layers import ConvNormReLU, Convolution, batch_norm
    from models.network import VideoNetwork

    width = config.TOY.channels if isinstance(config, ToyConfig) else 6
    first = Convolution("toy_first", 3, 4, (1, 5, 5), stride=(1, 4, 4), padding=(0, 2, 2))
    second = Convolution("toy_second", 4, width, (3, 3, 3), stride=(2, 2, 2), padding=(1, 1, 1))
    stages = {
        "first": [ConvNormReLU(first, batch_norm("toy_first_norm", 4))],
        "second": [ConvNormReLU(second, batch_norm("toy_second_norm", width))],
    }
    head = SlidingHead(width, config.MODEL.num_classes, dropout_rate=config.TRAIN.dropout_rate, name="toy_head")
    return VideoNetwork(stages, head, config.MODEL)


ENTRIES = {
    "TOY": NetworkEntry(builder="toy_network:build_toy", config="toy_network:ToyConfig"),
    "PLAIN": NetworkEntry(builder="toy_network:build_toy"),  # no section of its own
}


if __name__ == "__main__":
    # Imported under its own name too, so that there is one ToyConfig.
    import toy_network

    NETWORKS.update(toy_network.ENTRIES)
    sys.argv = sys.argv[1:]
    runpy.run_path(str(Path(__file__).parents[1] / sys.argv[0]), run_name="__main__")
