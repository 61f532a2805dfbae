"""Accuracy: pure NumPy, no network and no video in sight."""
