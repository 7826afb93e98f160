"""The decoding processes.

Where processes are forked a server imports the decoders once and forks a worker whenever it is
asked to: nothing is forked from a process that has threads, a CUDA context or an open HDF5 file,
and a worker starts in milliseconds. Elsewhere each worker is a process of its own.

The protocol, on a line whose other end the pool holds: settings once as JSON, then jobs
``(index, *ref)`` as marshalled tuples of bytes and numbers; back come ``("hello", pid)`` once, and
for each job a marshalled header, followed by the raw crops where the image is good. Both ends are
processes of one interpreter, which is what `marshal` asks for.
"""

from __future__ import annotations

import ctypes
import json
import marshal
import os
import signal
import socket
import sys
from multiprocessing.connection import Connection
from typing import Any, NoReturn

import numpy as np

from decaf.images.listing.image_ref import ImageRef
from decaf.images.preprocess import prepare
from decaf.images.resize import load_filter
from decaf.images.spec import PreprocessSpec
from decaf.runtime.children import open_line

__all__ = ["serve", "work"]

PR_SET_PDEATHSIG = 1


def serve(argument: str) -> NoReturn:
    """Fork a worker for each descriptor that is received, until the other end closes.

    Parameters
    ----------
    argument : str
        As `decaf.runtime.children.open_line` takes it.
    """
    if sys.platform == "win32":
        raise OSError("nothing is forked here")
    load_filter()  # once, for all workers
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    control = socket.socket(fileno=int(argument))
    while True:
        try:
            data, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        except OSError:
            os._exit(0)
        if not data:
            os._exit(0)
        if os.fork() == 0:
            control.close()
            _die_with_parent()
            _work(Connection(descriptors[0]))
        os.close(descriptors[0])


def work(argument: str) -> NoReturn:
    """Prepare images until the other end of a line closes.

    Parameters
    ----------
    argument : str
        As `decaf.runtime.children.open_line` takes it.
    """
    load_filter()
    _work(open_line(argument))


def _die_with_parent() -> None:
    """Ask Linux to end this process with the server, even in the middle of a decoder."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _work(connection: Connection[Any, Any]) -> NoReturn:
    try:
        _prepare_all(connection)
    except (EOFError, OSError):
        pass
    finally:
        os._exit(0)


def _prepare_all(connection: Connection[Any, Any]) -> None:
    settings = json.loads(connection.recv_bytes())
    spec = PreprocessSpec.from_dict(settings["preprocess"])
    ten = bool(settings["ten"])
    crops = np.empty((5 if ten else 1, spec.crop, spec.crop, 3), np.uint8)
    # Only now that it can work: who dies before has died as it started, which no image did.
    connection.send_bytes(marshal.dumps(("hello", os.getpid())))
    while True:
        index, *wire = marshal.loads(connection.recv_bytes())
        outcome = prepare(ImageRef.from_wire(tuple(wire)), spec, ten=ten, out=crops)
        header = (
            index,
            outcome.status,
            outcome.message.encode("utf-8", "backslashreplace"),
            outcome.width,
            outcome.height,
            outcome.sha256,
        )
        connection.send_bytes(marshal.dumps(header))
        if outcome.status == "ok":
            connection.send_bytes(memoryview(crops.data).cast("B"))
