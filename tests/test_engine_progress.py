"""Progress on a terminal: what is logged stands above the bar."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

from conftest import ROOT

SCRIPT = """
import time
from pathlib import Path
from engine.progress import track
from utils.logging import add_log_file, get_logger, setup_logging

setup_logging()
add_log_file(Path("all.log"))
for number in track(range(3), total=3, unit="video", log_interval=1):
    get_logger().info("information %d", number)
    get_logger().debug("detail %d", number)
    time.sleep(0.2)  # a bar is drawn ten times a second
"""


def test_a_bar_brings_no_details_to_the_screen(tmp_path):
    screen, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))  # rows and columns
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    subprocess.run([sys.executable, "-c", SCRIPT], stderr=end, cwd=tmp_path, env=environment, check=True, timeout=100)
    os.close(end)
    seen = os.read(screen, 100_000).decode()
    os.close(screen)
    assert "2/3" in seen, "a bar"
    assert all(f"information {number}" in seen for number in range(3))
    assert "detail" not in seen
    assert "done" not in seen, "the bar says it"
    assert (tmp_path / "all.log").read_text().count("DEBUG detail") == 3


def test_without_a_terminal_lines_take_the_place_of_the_bar(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=100
    )
    assert done.returncode == 0, done.stderr
    messages = [line.partition("] ")[2] for line in done.stderr.splitlines()]
    assert messages == [
        line for number in range(3) for line in (f"information {number}", f"{number + 1} of 3 videos done")
    ]
