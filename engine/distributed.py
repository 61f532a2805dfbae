"""Several processes that train or test together, started by ``python -m paddle.distributed.launch``.

Parameters and gradients are exchanged by Paddle's collectives, NCCL on GPUs and gloo on CPUs. Everything else (sums of
losses, results, waiting for one another) goes over plain connections to the first process. There are two reasons: gloo
gives up after 30 seconds, and a validation or a slow video may take longer; and a connection notices at once when the
other process ends.
"""

import contextlib
import os
import secrets
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from engine.rendezvous import Doorkeeper, knock
from utils.errors import DistributedError, one_line

if TYPE_CHECKING:
    import paddle

Value = TypeVar("Value")
_WAIT_SECONDS = 3600  # for the slowest process
_ACCEPT_SECONDS = 300
_ERRORS_OF_PADDLE = (RuntimeError, OSError, ValueError, SystemError)  # by kind: its InvalidArgument is a ValueError
LONG_WAIT_SECONDS = 48 * 3600  # at the end of a long list that was shared out


class Processes:
    """The processes of this run, and which of them this is. All processes must call the same methods in the same order.

    With one process nothing is sent, and every value is returned as it is.

    Args:
        connections: in the first process, those to the others, by rank; in another process, that to the first.

    Raises:
        DistributedError: another process has ended, or has sent nothing for an hour.
    """

    def __init__(self, rank: int = 0, count: int = 1, connections: Sequence[Connection] = ()) -> None:
        self.rank = rank
        self.count = count
        self._connections = connections

    @property
    def is_main(self) -> bool:
        """Whether this is the first process, which writes the results."""
        return self.rank == 0

    def gather(self, value: Value, *, wait_seconds: int = _WAIT_SECONDS) -> list[Value]:
        """Return the values of all processes, by rank. They must be picklable."""
        if self.count == 1:
            return [value]
        if not self.is_main:
            self._send(self._connections[0], value, to=0)
            return self._receive(self._connections[0], wait_seconds, of=0)
        others = list(enumerate(self._connections, start=1))
        values = [value, *(self._receive(other, wait_seconds, of=rank) for rank, other in others)]
        for rank, other in others:
            self._send(other, values, to=rank)
        return values

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of arrays of one shape over the processes."""
        return values if self.count == 1 else np.sum(self.gather(values), axis=0)

    def any(self, flag: bool) -> bool:
        """Return whether a flag is set in one of the processes."""
        return any(self.gather(flag))

    def wait_for_all(self, *, wait_seconds: int = _WAIT_SECONDS) -> None:
        """Wait until every process has called this."""
        self.gather(None, wait_seconds=wait_seconds)

    def make_equal(self, tensors: "Iterable[paddle.Tensor]") -> None:
        """Give every process the values of the first one."""
        if self.count > 1:
            from paddle import distributed

            self.wait_for_all()
            with _collective("parameters"):
                for tensor in tensors:
                    distributed.broadcast(tensor, src=0)

    def average_gradients(self, parameters: "Iterable[paddle.Tensor]") -> None:
        """Replace every gradient by its mean over the processes, in few large messages.

        This happens after the whole backward pass, so gradient accumulation, recomputation and clipping need no special
        case. The price: gradients are not sent while the backward pass is still running.
        """
        if self.count == 1:
            return
        from paddle.distributed.fleet.utils.hybrid_parallel_util import fused_allreduce_gradients

        self.wait_for_all()
        with _collective("gradients"):
            fused_allreduce_gradients(list(parameters), None)

    def _send(self, connection: Connection, value: Value, *, to: int) -> None:
        try:
            connection.send(value)
        except OSError as error:
            raise _ended(to) from error

    def _receive(self, connection: Connection, wait_seconds: int, *, of: int) -> Value:
        try:
            if not connection.poll(wait_seconds):
                raise DistributedError(f"process {of} has sent nothing for {wait_seconds} s")
            return connection.recv()
        except (EOFError, OSError) as error:
            raise _ended(of) from error


ALONE = Processes()


def is_first_of_host() -> bool:
    """Whether this is the first process of its host: the one that ends with another code than 0 if a run is to go on.

    If several did, the launcher would kill those that end later than the first, and report that as its own exit code.
    """
    return int(os.environ.get("PADDLE_LOCAL_RANK", "0")) == 0


def join_processes(device: str) -> Processes:
    """Connect to the other processes that the launcher started. The device must have been selected before.

    Several processes are ended at once by SIGTERM: one that waits for the others inside Paddle would not hear of it.
    """
    if int(os.environ.get("PADDLE_TRAINERS_NUM", "1")) == 1:
        return ALONE
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    from paddle import distributed

    if device == "cpu":  # of a build for GPUs too
        os.environ["PADDLE_DISTRI_BACKEND"] = "gloo"
    with _collective("addresses"):
        distributed.init_parallel_env()
    rank, count = distributed.get_rank(), distributed.get_world_size()
    return Processes(rank, count, _connect(rank, count))


def _connect(rank: int, count: int) -> list[Connection]:
    """Connections between the first process and all others; see `Processes`."""
    from paddle import distributed

    host = os.environ["PADDLE_CURRENT_ENDPOINT"].rpartition(":")[0]
    door = Doorkeeper(host, secrets.token_bytes(32), count) if rank == 0 else None
    offers: list[tuple[tuple[str, int], bytes] | None] = []
    distributed.all_gather_object(offers, door and (door.address, door.key))
    if door is not None:
        return door.wait_for_all(_ACCEPT_SECONDS)
    address, key = offers[0]
    return [knock(address, key, rank, _ACCEPT_SECONDS)]


@contextlib.contextmanager
def _collective(what: str) -> Iterator[None]:
    """Turn errors of Paddle's collectives into one of ours."""
    try:
        yield
    except _ERRORS_OF_PADDLE as error:
        raise DistributedError(
            f"the exchange of {what} failed: another process may have ended, or somebody else may have come to one of "
            f"Paddle's ports; start the run again ({one_line(error)})"
        ) from error


def _ended(rank: int) -> DistributedError:
    return DistributedError(
        f"process {rank} of the run has ended, or its host is out of reach: failure.json in the run's folder says why, "
        "or, if it was killed, the launcher's logs (log/workerlog.*)"
    )
