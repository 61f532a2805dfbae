"""A test of a network that is at hand."""

from engine.network_identity import parameters_sha256
from engine.scoring.scorers import DygraphScorer
from engine.scoring.tester import run_test


def run_test_of(config, network, dataset, *, scorer=None, **options):
    """`run_test` with the network itself, or with what scores in its place."""
    scorer = scorer or DygraphScorer(network)
    return run_test(config, scorer, dataset, parameters_sha256=parameters_sha256(network), **options)
