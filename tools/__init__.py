"""Small programs beside train.py, test.py and infer.py."""
