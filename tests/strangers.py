"""Strangers at listening sockets: floods, silence, rubbish, huge claims of length, slow senders, half-closed ends.

What they send is no protocol's, or the beginning of many. All is bounded: connections, seconds and bytes.
"""

import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

_SLOW_SECONDS = 0.05  # between two bytes
Address = tuple[str, int]


def listening_ports(pids: Iterable[int]) -> dict[int, int]:
    """Ports on which processes listen, by port: the process that does."""
    owners = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            for link in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    owners[str(link.readlink())] = pid
    found = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and (pid := owners.get(f"socket:[{fields[9]}]")):
                found[int(fields[1].rpartition(":")[2], 16)] = pid
    return found


def flood(address: Address, seconds: float, generator: random.Random) -> None:
    """Two hundred connections that say nothing."""
    sockets = []
    with contextlib.suppress(OSError):
        for _ in range(200):
            sockets.append(socket.create_connection(address, timeout=2))
    time.sleep(seconds)
    for sock in sockets:
        sock.close()


def come_and_go(address: Address, seconds: float, generator: random.Random) -> None:
    """Connections, closed or reset at once."""
    for number in range(300):
        with contextlib.suppress(OSError), socket.create_connection(address, timeout=2) as sock:
            if number % 2:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def rubbish(address: Address, seconds: float, generator: random.Random) -> None:
    """Random bytes, few and many."""
    for _ in range(40):
        with contextlib.suppress(OSError), socket.create_connection(address, timeout=2) as sock:
            sock.sendall(generator.randbytes(generator.choice([1, 3, 8, 100, 10_000, 300_000])))


CLAIMS = [
    struct.pack("!i", -1) + struct.pack("!Q", 1 << 60), struct.pack("<Q", 1 << 62), struct.pack("!Q", 1 << 40),
    struct.pack("<i", 0x7FFFFFFF), struct.pack("<I", 0xFFFFFFFF), b"\xff" * 64, b"\x00" * 64,
    *(struct.pack("<iQ", command, 1 << 34) + b"key" for command in range(8)),
    *(struct.pack("<ii", command, 0x7FFFFFFF) + b"key" for command in range(8)),
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFF\r\nabc",
    b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n", b"*1000000000\r\n$1000000000\r\n",
]  # fmt: skip


def claim_much(address: Address, seconds: float, generator: random.Random) -> None:
    """Beginnings of messages that would be huge; some wait for an answer, some leave."""
    sockets = []
    for claim in CLAIMS:
        with contextlib.suppress(OSError):
            sockets.append(socket.create_connection(address, timeout=2))
            sockets[-1].sendall(claim)
    time.sleep(seconds)
    for sock in sockets:
        sock.close()


def send_slowly(address: Address, seconds: float, generator: random.Random) -> None:
    """Byte after byte of what begins like a request."""
    ends = time.monotonic() + seconds
    sockets = []
    with contextlib.suppress(OSError):
        sockets += [socket.create_connection(address, timeout=2) for _ in range(20)]
    message = b"POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000
    for byte in message:
        if time.monotonic() > ends:
            break
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.sendall(bytes([byte]))
        time.sleep(_SLOW_SECONDS)
    for sock in sockets:
        sock.close()


def half_close(address: Address, seconds: float, generator: random.Random) -> None:
    """The beginning of a message, and then the end of what is sent, though not of what is read."""
    sockets = []
    for number in range(30):
        with contextlib.suppress(OSError):
            sock = socket.create_connection(address, timeout=2)
            sockets.append(sock)
            sock.sendall(generator.choice(CLAIMS)[: number + 1])
            sock.shutdown(socket.SHUT_WR)
    time.sleep(seconds)
    for sock in sockets:
        sock.close()


KINDS: list[Callable[[Address, float, random.Random], None]] = [
    flood, come_and_go, rubbish, claim_much, send_slowly, half_close
]  # fmt: skip


def visit(address: Address, *, seconds: float = 3.0, seed: int = 0, kinds: Sequence[Callable] = KINDS) -> None:
    """All kinds at once; most stay for so many seconds."""
    threads = [threading.Thread(target=kind, args=(address, seconds, random.Random(seed))) for kind in kinds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
