"""How processes that write to one store keep out of each other's way."""

import contextlib
import os
import pathlib
import platform
import threading
import time
from collections.abc import Iterator
from typing import TextIO

from .place import Place

STALE = 30.0  # seconds without a sign of life after which a process is given up


@contextlib.contextmanager
def held(path: Place, process: int) -> Iterator[None]:
    """Keep other sweeps from writing to `path`; let go however this process ends.

    What is behind a URL has no locks.
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
    """`lock`, opened and locked."""
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
        file.close()  # its last owner has just removed it


class Heartbeat:
    """Signs of life between the processes of one sweep, through the file system."""

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
        """Give signs from now on, from a thread that a killed process takes along."""
        if self.files:
            self.files[self.process].touch()
            threading.Thread(target=self._beat, daemon=True).start()
        return self

    def _beat(self) -> None:
        while not self._stop.wait(STALE / 10):
            with contextlib.suppress(OSError):
                self.files[self.process].touch()

    def __exit__(self, *_: object) -> None:
        """No more signs."""
        self._stop.set()
        if self.files:
            with contextlib.suppress(OSError):
                self.files[self.process].unlink()

    def check(self) -> None:
        """Raise if another process has not shown itself for long."""
        for i, file in enumerate(self.files):
            last = self.started
            if i != self.process:
                with contextlib.suppress(OSError):
                    last = max(last, file.stat().st_mtime)
                silent = time.time() - last
                if silent > STALE:
                    raise RuntimeError(
                        f"process {i} of {len(self.files)} must be alive, but it gave "
                        f"no sign for {silent:.0f} s. What is written is safe: run the "
                        "same sweep again to go on."
                    )
