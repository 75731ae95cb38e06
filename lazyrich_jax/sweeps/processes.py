"""Locks and heartbeats of processes that write to one store."""

import contextlib
import os
import pathlib
import platform
import threading
import time
from collections.abc import Iterator
from typing import TextIO

from .place import Place

STALE = 30.0  # seconds without a heartbeat after which a process counts as dead


@contextlib.contextmanager
def held(path: Place, process: int) -> Iterator[None]:
    """Exclude other sweeps from writing to `path` until this process ends.

    A URL has no locks.
    """
    if isinstance(path, str):
        yield
        return
    lock = path.with_name(f"{path.name}.lock-{process}")
    with _locked(lock, path) as file:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                lock.unlink()


def _locked(lock: pathlib.Path, path: pathlib.Path) -> TextIO:
    """The file `lock`, open and locked."""
    try:
        import fcntl
    except ImportError as error:
        raise RuntimeError(
            "`store` must be on a system with POSIX file locks, but this one has none: "
            "leave it out, and write the dataset that `run` returns."
        ) from error
    while True:
        try:
            file = open(lock, "a+")
        except OSError as error:
            raise OSError(
                error.errno,
                f"`store` must be writable, but {str(path.parent)!r} is not "
                f"({error.strerror})",
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            with file:
                file.seek(0)
                raise RuntimeError(
                    "`store` must not be in use, but another sweep is writing to "
                    f"{str(path)!r} ({file.read().strip() or 'just started'})."
                ) from error
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                return file
        file.close()  # the last owner has just removed it


class Heartbeat:
    """Heartbeats between the processes of one sweep, through the file system."""

    def __init__(self, path: Place, process: int, processes: int):
        self.files = []
        if processes > 1:
            path = pathlib.Path(path)
            self.files = [
                path.with_name(f"{path.name}.alive-{i}") for i in range(processes)
            ]
        self.process, self.started = process, time.time()
        self._stop = threading.Event()

    def __enter__(self) -> "Heartbeat":
        """Start the heartbeat in a thread that ends with this process."""
        if self.files:
            self.files[self.process].touch()
            threading.Thread(target=self._beat, daemon=True).start()
        return self

    def _beat(self) -> None:
        while not self._stop.wait(STALE / 10):
            with contextlib.suppress(OSError):
                self.files[self.process].touch()

    def __exit__(self, *_: object) -> None:
        """Stop the heartbeat."""
        self._stop.set()
        if self.files:
            with contextlib.suppress(OSError):
                self.files[self.process].unlink()

    def check(self) -> None:
        """Raise an error if another process had no heartbeat for `STALE` seconds."""
        for i, file in enumerate(self.files):
            last = self.started
            if i != self.process:
                with contextlib.suppress(OSError):
                    last = max(last, file.stat().st_mtime)
                silent = time.time() - last
                if silent > STALE:
                    raise RuntimeError(
                        f"process {i} of {len(self.files)} must be alive, but it gave "
                        f"no sign for {silent:.0f} s. Written blocks are safe: run the "
                        "same sweep again to go on."
                    )
