"""A Ray cluster of two nodes on this machine, as tests need it: with a token, out of everybody's way, and gone afterwards."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.engine.helpers import PATIENCE, ROOT, kill, living, output_of, process

BIN = Path(sys.executable).parent
SMALL = (
    *("--num-cpus=1", "--object-store-memory=100000000"),
    *("--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"),
)
HEAD, SECOND = "127.0.0.2", "127.0.0.3"
"""Linux answers to all of 127.0.0.0/8, which makes two machines of one; no other machine reaches either."""


@dataclass(frozen=True)
class Cluster:
    dashboard: str
    address: str
    environment: Mapping[str, str]
    """For whoever uses the cluster: has the token, and a home of its own."""
    token: str
    second: int
    """Session of the second node's processes."""

    def run(self, command: Sequence[str], folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command of this installation to its end; stderr goes where stdout goes."""
        with self.start(command, folder, **more) as started:
            output, _ = output_of(started)
        return subprocess.CompletedProcess(command, started.returncode, output)

    def names_on_second(self) -> list[str]:
        """What the second node's processes call themselves."""
        files = [Path(f"/proc/{number}/cmdline") for number in living(self.second)]
        return [file.read_text().rstrip("\0") for file in files if file.exists()]

    def start(self, command: Sequence[str], folder: Path, **more: str) -> AbstractContextManager[subprocess.Popen[str]]:
        return process(
            [str(BIN / command[0]), *command[1:]],
            cwd=folder,
            env={**self.environment, "PYTHONPATH": str(ROOT), **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A head and a second node with one CPU each."""
    # Ray's sockets lie below it, and their paths must stay short.
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    token = secrets.token_hex(16)
    (folder / "token").write_text(token)
    (folder / "home").mkdir()
    environment = {
        # What a Ray of our own in this process was set up with is not the cluster's.
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH" and not name.startswith("RAY_")},
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder / "home"),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
        "RAY_worker_niceness": "0",
        # Ray gives up on its own processes sooner than a busy machine starts them.
        "RAY_DASHBOARD_STARTUP_TIMEOUT_S": str(PATIENCE),
        "RAY_raylet_start_wait_time_s": str(PATIENCE),
    }
    gcs, dashboard, client = _free_ports(3)
    sessions: list[int] = []
    try:
        places = (f"--temp-dir={folder / 'ray'}", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}")
        ports = (f"--port={gcs}", f"--ray-client-server-port={client}")
        for node, options in ((HEAD, ("--head", *places, *ports)), (SECOND, (f"--address={HEAD}:{gcs}",))):
            command = [str(BIN / "ray"), "start", f"--node-ip-address={node}", *options, *SMALL]
            with (folder / node).open("w") as log:
                # A job brings its code: no node has any of ours.
                starter = subprocess.Popen(
                    command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                )
            sessions.append(starter.pid)
            assert starter.wait(PATIENCE) == 0, (folder / node).read_text()
        yield Cluster(f"http://127.0.0.1:{dashboard}", f"{HEAD}:{gcs}", environment, token, sessions[1])
    finally:
        try:
            for session in sessions:
                kill(session)
        finally:
            _kill_those_in(folder)
            shutil.rmtree(folder, ignore_errors=True)


def _kill_those_in(folder: Path) -> None:
    """Kill what has left its session: workers' groups and jobs' drivers. They have the cluster's token."""
    marker = f"RAY_AUTH_TOKEN_PATH={folder}".encode()
    found = set()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if marker in path.read_bytes():
                found.add(int(path.parent.name))
    for number in found - {os.getpid()}:
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)


def _free_ports(count: int) -> list[int]:
    with_all_open = [socket.create_server((HEAD, 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in with_all_open]
    for server in with_all_open:
        server.close()
    return ports
