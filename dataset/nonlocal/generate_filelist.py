"""The old name of tools/make_filelist.py; takes the same arguments."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.make_filelist import main
from utils.commandline import run_program

if __name__ == "__main__":
    sys.exit(run_program(main))
