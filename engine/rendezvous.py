"""Plain connections between the first process of a run and all others, made while anybody else may knock too.

The first process listens on a port of its own. A connection counts once its sender has proved that it knows the run's
key; everybody else (who connects and leaves, sends rubbish, or sends nothing) is turned away without a trace.
"""

import contextlib
import os
import socket
import threading
import time
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge

from utils.errors import DistributedError
from utils.logging import get_logger

_HANDSHAKE_SECONDS = 10
_HANDSHAKES_AT_ONCE = 64
_RETRY_SECONDS = 0.5
_KEEP_ALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 20000}  # s, s, times, ms


class Doorkeeper:
    """Lets the other processes of the run in, on a port of its own.

    Args:
        host: address to listen on.
        key: what all processes of the run know.
        count: processes of the run.
    """

    def __init__(self, host: str, key: bytes, count: int) -> None:
        self._server = socket.create_server((host, 0), backlog=max(count, 128))
        self.address: tuple[str, int] = self._server.getsockname()[:2]
        self.key = key
        self._count = count
        self._by_rank: dict[int, Connection] = {}
        self._changed = threading.Condition()
        self._handshakes = threading.Semaphore(_HANDSHAKES_AT_ONCE)
        self._num_strangers = 0

    def wait_for_all(self, seconds: float) -> list[Connection]:
        """Return the connections to the processes 1, 2, ..., once all are there, and close the door.

        Raises:
            DistributedError: some have not come in time.
        """
        threading.Thread(target=self._accept, daemon=True).start()
        with self._changed:
            self._changed.wait_for(lambda: len(self._by_rank) == self._count - 1, timeout=seconds)
        _shut_down(self._server)  # wakes the thread that accepts
        self._server.close()
        if self._num_strangers:
            get_logger().warning("%d connections that are not of this run were turned away", self._num_strangers)
        missing = [str(rank) for rank in range(1, self._count) if rank not in self._by_rank]
        if missing:
            raise DistributedError(f"no connection from process {', '.join(missing)} after {seconds:g} s")
        return [self._by_rank[rank] for rank in range(1, self._count)]

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._server.accept()
            except OSError:
                if self._server.fileno() < 0:
                    return  # the door is closed
                time.sleep(_RETRY_SECONDS)  # too many open files, perhaps; strangers leave after a while
                continue
            if not self._handshakes.acquire(blocking=False):
                sock.close()  # one of ours tries again
                continue
            try:
                threading.Thread(target=self._let_in, args=(sock,), daemon=True).start()
            except RuntimeError:  # the system gives no more threads at the moment
                sock.close()
                self._handshakes.release()

    def _let_in(self, sock: socket.socket) -> None:
        """Make a connection of `sock` if a process of the run is behind it; close it otherwise."""
        limit = connection = None
        try:
            # Ends the handshake of somebody who sends nothing, or byte by byte.
            limit = threading.Timer(_HANDSHAKE_SECONDS, lambda: _shut_down(sock))
            limit.daemon = True
            limit.start()
            connection = Connection(os.dup(sock.fileno()))
            deliver_challenge(connection, self.key)
            answer_challenge(connection, self.key)
            rank = connection.recv()
            self._enter(rank, connection)
        except Exception as error:  # noqa: BLE001 - what a stranger sends must not end this process's part in the run
            with self._changed:
                self._num_strangers += 1
            get_logger().debug("a connection was turned away: %r", error)
            if connection is not None:
                connection.close()
        finally:
            if limit is not None:
                limit.cancel()
            sock.close()
            self._handshakes.release()

    def _enter(self, rank: object, connection: Connection) -> None:
        with self._changed:
            if type(rank) is not int or not 0 < rank < self._count:
                raise ValueError(f"no process of the run has the rank {rank!r}")
            notice_silence(connection)
            self._by_rank[rank] = connection
            self._changed.notify_all()


def knock(address: tuple[str, int], key: bytes, rank: int, seconds: float) -> Connection:
    """Connect to the doorkeeper of the first process, as process `rank`; tried again while the door is crowded.

    Raises:
        DistributedError: it has not worked for so long.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return _introduced(address, key, rank, max(min(deadline - time.monotonic(), _HANDSHAKE_SECONDS), 0.1))
        except (
            OSError,
            EOFError,
            AuthenticationError,
            AssertionError,
            ValueError,
        ) as error:
            if time.monotonic() > deadline:
                raise DistributedError(f"no connection to the first process at {address} ({error})") from error
            time.sleep(_RETRY_SECONDS)


def _introduced(address: tuple[str, int], key: bytes, rank: int, seconds: float) -> Connection:
    """Connect, and prove to belong to the run, within `seconds`."""
    with socket.create_connection(address, timeout=seconds) as sock:
        sock.settimeout(None)
        limit = threading.Timer(seconds, lambda: _shut_down(sock))
        limit.daemon = True
        limit.start()
        connection = Connection(os.dup(sock.fileno()))
        try:
            answer_challenge(connection, key)
            deliver_challenge(connection, key)
            notice_silence(connection)
            connection.send(rank)
        except BaseException:
            connection.close()
            raise
        finally:
            limit.cancel()
        return connection


def notice_silence(connection: Connection) -> None:
    """Let the system ask now and then whether the other host is there, and end the connection if it is not."""
    with socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM) as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEP_ALIVE.items():
            if hasattr(socket, option):  # they are Linux's
                end.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _shut_down(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it has ended by itself
        sock.shutdown(socket.SHUT_RDWR)
