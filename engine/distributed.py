"""Several processes that train or test together, started by ``python -m paddle.distributed.launch``.

Parameters and gradients travel by Paddle's collectives, NCCL on GPUs and gloo on CPUs. Everything else (sums of
losses, results, whether all are there) goes over plain connections to the first process: gloo gives up after 30
seconds, which a validation or one slow video may take, and a connection ends at once when the process behind it does.
"""

import contextlib
import os
import secrets
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import TypeVar

import numpy as np
import paddle
from paddle import distributed, nn

from engine.rendezvous import Doorkeeper, knock
from utils.errors import DistributedError, one_line

Value = TypeVar("Value")
_WAIT_SECONDS = 3600  # for the slowest process
_ACCEPT_SECONDS = 300
LONG_WAIT_SECONDS = 48 * 3600  # at the end of a long list that was shared out


class Processes:
    """The processes of this run, and which of them this is. Every method is called by all, in the same order.

    With one process nothing is sent and every value comes back as it was.

    Args:
        connections: of the first process, to the others by rank; of another one, to the first.

    Raises:
        DistributedError: another process has ended, or has not come for an hour.
    """

    def __init__(self, rank: int = 0, count: int = 1, connections: Sequence[Connection] = ()) -> None:
        self.rank = rank
        self.count = count
        self._connections = connections

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes results."""
        return self.rank == 0

    def gather(self, value: Value, *, wait_seconds: int = _WAIT_SECONDS) -> list[Value]:
        """Collect a value that can be pickled from every process, by rank."""
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
        """Sum arrays of one shape over the processes."""
        return values if self.count == 1 else np.sum(self.gather(values), axis=0)

    def any(self, flag: bool) -> bool:
        """Whether a flag is set in one of the processes."""
        return any(self.gather(flag))

    def wait_for_all(self, *, wait_seconds: int = _WAIT_SECONDS) -> None:
        """Go on when every process has come here."""
        self.gather(None, wait_seconds=wait_seconds)

    def make_equal(self, tensors: Iterable[paddle.Tensor]) -> None:
        """Give every process the values that the first one has."""
        if self.count > 1:
            self.wait_for_all()
            with _collective("parameters"):
                for tensor in tensors:
                    distributed.broadcast(tensor, src=0)

    def average_gradients(self, parameters: Iterable[paddle.Tensor]) -> None:
        """Replace every gradient by its mean over the processes, all of them in few large messages.

        Done when the whole backward pass is: what accumulates, recomputes or clips gradients needs no special case, for
        the time that sending beside the backward pass would save.
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


def join_processes(device: str) -> Processes:
    """Meet the other processes that the launcher started, once the device is selected. For programs: it takes SIGTERM
    back from Paddle, whose handler prints a trace of C++ that says nothing.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if int(os.environ.get("PADDLE_TRAINERS_NUM", "1")) == 1:
        return ALONE
    if device == "cpu":  # of a build for GPUs too
        os.environ["PADDLE_DISTRI_BACKEND"] = "gloo"
    with _collective("addresses"):
        distributed.init_parallel_env()
    rank, count = distributed.get_rank(), distributed.get_world_size()
    return Processes(rank, count, _connect(rank, count))


def _connect(rank: int, count: int) -> list[Connection]:
    """Connections between the first process and all others; see `Processes`."""
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
    """Errors of Paddle's collectives as one of ours."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        raise DistributedError(
            f"the exchange of {what} failed, another process may have ended: {one_line(error)}"
        ) from error


def _ended(rank: int) -> DistributedError:
    return DistributedError(
        f"process {rank} of the run has ended, or its host is out of reach: failure.json in the run's folder says why, "
        "or, if it was killed, the launcher's logs (log/workerlog.*)"
    )


def synchronise_batch_norm(network: nn.Layer) -> nn.Layer:
    """Let all BN layers use the statistics of the batch over all GPUs; saved names stay. Not run on a GPU."""
    names = {path: getattr(layer, "released_names", None) for path, layer in network.named_sublayers()}
    network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for path, layer in network.named_sublayers():
        if names[path] is not None:
            layer.released_names = names[path]
    return network
