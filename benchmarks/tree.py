"""A server's processes: their time and memory."""

import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil


def members_of(pid: int) -> list[psutil.Process]:
    """A process and its descendants; none where it has left."""
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    return []


def memory_of(pid: int) -> list[float]:
    """MiB that a process and each of its descendants hold.

    Shared pages are counted by share, so that the sum is what the machine holds.
    """
    sizes = []
    for member in members_of(pid):
        # One that leaves meanwhile is not counted.
        with suppress(psutil.Error):
            sizes.append(member.memory_full_info().pss / 2**20)
    return sizes


class Tree:
    """A process and all below it, watched for memory four times a second."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: str) -> None:
        self.process, self.log = process, log
        self.peak = self.largest = 0.0
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    @classmethod
    @contextmanager
    def start(cls, command: list[str], variables: dict[str, str]) -> "Iterator[Tree]":
        """Run a command in its own session; everything below it is stopped at the end."""
        with tempfile.NamedTemporaryFile(suffix=".log") as log:
            process = subprocess.Popen(
                command, env=variables, stdout=log, stderr=log, start_new_session=True
            )
            tree = cls(process, log.name)
            tree._watcher.start()
            try:
                yield tree
            finally:
                tree._over.set()
                tree._watcher.join()
                tree.stop()

    def members(self) -> list[psutil.Process]:
        """The process and its descendants."""
        return members_of(self.process.pid)

    def cpu_seconds(self) -> float:
        """Time on all cores so far, in user and kernel mode."""
        total = 0.0
        for member in self.members():
            with suppress(psutil.NoSuchProcess):
                times = member.cpu_times()
                total += times.user + times.system
        return total

    def ended(self) -> bool:
        """Whether the process has left."""
        return self.process.poll() is not None

    def output(self) -> str:
        """What the processes wrote so far."""
        return Path(self.log).read_text(errors="replace")[-4000:]

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for who is left after ten seconds."""
        members = self.members()
        for member in members:
            with suppress(psutil.NoSuchProcess):
                member.terminate()
        _, left = psutil.wait_procs(members, 10)
        for member in left:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        self.process.wait()

    def _watch(self) -> None:
        while not self._over.wait(0.25):
            sizes = memory_of(self.process.pid)
            self.peak = max(self.peak, sum(sizes))
            self.largest = max([self.largest, *sizes])
