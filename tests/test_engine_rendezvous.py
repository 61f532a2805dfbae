"""Processes of a run find one another, whoever else connects meanwhile."""

import os
import socket
import struct
import threading
import time
from multiprocessing.connection import Client

import pytest

from engine import rendezvous
from engine.rendezvous import Doorkeeper, knock
from utils.errors import DistributedError

KEY = b"of this run"


@pytest.fixture
def door(monkeypatch):
    """The door of a run of three processes, and what comes of waiting at it, called with a time limit."""
    monkeypatch.setattr(rendezvous, "_HANDSHAKE_SECONDS", 0.5)
    keeper = Doorkeeper("127.0.0.1", KEY, 3)
    found = []

    def wait(seconds=20):
        try:
            found.append(keeper.wait_for_all(seconds))
        except DistributedError as error:
            found.append(error)

    thread = threading.Thread(target=wait)
    thread.start()

    def result():
        thread.join(30)
        assert not thread.is_alive()
        return found[0]

    yield keeper, result
    keeper._server.close()


def let_in_all(keeper):
    return [knock(keeper.address, KEY, rank, 20) for rank in (2, 1)]


def assert_all_are_there(own, result):
    """Each connection leads to the process of its rank."""
    connections = result()
    assert len(connections) == 2, connections
    for rank, connection in zip((2, 1), own, strict=True):
        connection.send(f"from {rank}")
        assert connections[rank - 1].recv() == f"from {rank}"
        connections[rank - 1].send("back")
        assert connection.recv() == "back"


def connects_and_leaves(address):
    socket.create_connection(address).close()


def sends_rubbish(address):
    with socket.create_connection(address) as sock:
        sock.sendall(os.urandom(1000))


def claims_a_huge_message(address):
    with socket.create_connection(address) as sock:
        sock.sendall(struct.pack("!i", -1) + struct.pack("!Q", 1 << 60) + b"x" * 100)
        time.sleep(0.1)


def stops_in_the_middle_of_the_handshake(address):
    with socket.create_connection(address) as sock:
        sock.recv(100)
        sock.sendall(struct.pack("!i", 16) + b"half")


def has_another_key(address):
    with pytest.raises(Exception):  # noqa: B017 - whatever the library makes of being turned away
        Client(address, authkey=b"of another run")


def resets_the_connection(address):
    with socket.create_connection(address) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def has_the_key_but_no_rank_of_the_run(address):
    with Client(address, authkey=KEY) as connection:
        connection.send(7)
        time.sleep(0.1)


def has_the_key_and_sends_rubbish(address):
    with Client(address, authkey=KEY) as connection:
        connection.send_bytes(b"no pickle")
        time.sleep(0.1)


STRANGERS = [
    connects_and_leaves, sends_rubbish, claims_a_huge_message, stops_in_the_middle_of_the_handshake, has_another_key,
    resets_the_connection, has_the_key_but_no_rank_of_the_run, has_the_key_and_sends_rubbish,
]  # fmt: skip


@pytest.mark.parametrize("stranger", STRANGERS, ids=lambda stranger: stranger.__name__)
def test_strangers_are_ignored(door, stranger):
    keeper, result = door
    stranger(keeper.address)
    assert_all_are_there(let_in_all(keeper), result)


def test_fifty_strangers_at_once_some_of_whom_say_nothing(door):
    keeper, result = door
    silent = [socket.create_connection(keeper.address) for _ in range(50)]
    others = [threading.Thread(target=STRANGERS[k % 4], args=(keeper.address,)) for k in range(50)]
    for thread in others:
        thread.start()
    try:
        assert_all_are_there(let_in_all(keeper), result)
    finally:
        for thread in others:
            thread.join()
        for sock in silent:
            sock.close()


def test_more_silent_strangers_than_handshakes_at_once(door, monkeypatch):
    """They are sent away after a while, and a process of the run tries until it is let in."""
    keeper, result = door
    keeper._handshakes = threading.Semaphore(3)
    silent = [socket.create_connection(keeper.address) for _ in range(3)]
    time.sleep(0.1)
    assert_all_are_there(let_in_all(keeper), result)
    for sock in silent:
        sock.close()


def test_a_process_that_does_not_come_is_named():
    keeper = Doorkeeper("127.0.0.1", KEY, 3)
    knocking = threading.Thread(target=knock, args=(keeper.address, KEY, 1, 5))
    knocking.start()
    with pytest.raises(DistributedError, match=r"no connection from process 2 after 1 s"):
        keeper.wait_for_all(1)
    knocking.join()


@pytest.mark.parametrize(
    "answer",
    [b"", b"hello", struct.pack("!i", 5) + b"hello", struct.pack("!i", -2), b"HTTP/1.1 400 Bad Request\r\n\r\n"],
)
def test_a_stranger_behind_the_door(monkeypatch, answer):
    """Another program listens there: it says nothing, or something else."""
    monkeypatch.setattr(rendezvous, "_HANDSHAKE_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        sockets = []

        def serve():
            while True:
                try:
                    sockets.append(server.accept()[0])
                except OSError:
                    return
                sockets[-1].sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        started = time.monotonic()
        with pytest.raises(DistributedError, match="no connection to the first process at"):
            knock(server.getsockname(), KEY, 1, 1.0)
        assert time.monotonic() - started < 20
        server.shutdown(socket.SHUT_RDWR)
    thread.join(10)
    for sock in sockets:
        sock.close()


def test_a_door_that_is_not_there():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
    with pytest.raises(DistributedError, match="no connection to the first process"):
        knock(address, KEY, 1, 0.1)
