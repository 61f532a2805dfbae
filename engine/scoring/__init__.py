"""Scoring videos with a network: engines, the test, prediction, and the files and pages that come of them."""
