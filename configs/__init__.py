"""Run files, and the schema they are read into."""
