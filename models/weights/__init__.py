"""Weights in and out: files of other systems read, named, and fitted to a network."""
