"""Plumbing that knows nothing about videos: errors, logging, seeds, atomic files, safe pickles."""
