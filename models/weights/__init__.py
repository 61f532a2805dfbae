"""Weights in: values from a file into a network."""
