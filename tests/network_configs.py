"""Configs read with the registry of networks, as the programs read them."""

from functools import partial

import configs.loading
from models.registry import NETWORKS

load_config = partial(configs.loading.load_config, networks=NETWORKS)
parse_config = partial(configs.loading.parse_config, networks=NETWORKS)
config_from = partial(configs.loading.config_from, networks=NETWORKS)
