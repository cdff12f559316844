"""A study as a job on a Ray cluster: what is checked before anything is sent, what goes along, how it is watched."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Sequence
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from affect.data.manifest import MANIFEST
from affect.data.prepare import CORPORA
from affect.data.twin import NAMES as TWINS
from affect.engine.job import is_absolute
from affect.engine.loopback import open_to_all
from affect.engine.provenance import RECORD, provenance
from affect.errors import UserError

DASHBOARD = "http://127.0.0.1:8265"
LIMIT = 100 * 1024**2
"""Bytes that Ray's job server takes in one request."""
ZIP_ENTRY = 76
"""Bytes that a file adds to a zip archive beside its content and, twice, its name. Ray does not compress."""
SECONDS = 10.0
INTERRUPTED = 130


def submit(
    study: str,
    arguments: Sequence[str],
    *,
    address: str,
    folder: Path,
    allow_open: bool,
    follow: bool,
) -> int:
    """Send `folder` to the cluster whose dashboard is at `address` and run its script `study` there; the exit status.

    Everything is checked before anything is sent. Places on this machine are made absolute, so that the job, which
    runs in a copy of `folder`, writes where the same command would have written here.
    """
    if any(argument.split("=")[0] == "--address" for argument in arguments):
        raise UserError(f"--address goes before {study}: affect submit --address URL {study} ....")
    folder = folder.resolve()
    script = _script(study, folder)
    arguments = absolute_arguments(arguments, Path.cwd())
    address = (address if "://" in address else f"http://{address}").rstrip("/")
    _settle_token(address, allow_open)
    sent = files_sent(folder)
    if folder / script not in sent:
        raise UserError(f"{study}: is not sent, because a .gitignore or .rayignore leaves it out.")
    refuse_too_large(folder, sent)
    record = provenance(folder, sent)
    client = _client(address)
    try:
        job = client.submit_job(
            entrypoint=shlex.join(["python", script, *arguments]),
            runtime_env={"working_dir": str(folder)},
            metadata={RECORD: record.to_json()},
        )
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        if "agent" in reason:
            reason += "; dashboard_agent.log on the head tells why, often that another Ray holds its port"
        raise UserError(f"--address {address}: the job was not taken ({reason}).") from None
    commit = "no commit" if record.git_commit is None else f"commit {record.git_commit[:12]}"
    dirty = ", changed since" if record.git_dirty else ""
    print(f"affect: job {job} runs {script}, source {record.source_hash[:12]}, {commit}{dirty}.", file=sys.stderr)
    print(f"affect: its options there: {shlex.join(arguments)}", file=sys.stderr)
    return _follow(client, job, address) if follow else 0


def _script(study: str, folder: Path) -> str:
    """The study's path as seen from `folder`."""
    path = Path(study).resolve()
    if not path.is_file():
        raise UserError(f"{study}: no such study.")
    if not path.is_relative_to(folder):
        raise UserError(f"{study}: is not in {folder}, which is sent; give its project with --working-dir.")
    return path.relative_to(folder).as_posix()


class _Places(argparse.ArgumentParser):
    """The options of a study that name places."""

    def __init__(self) -> None:
        super().__init__(add_help=False, allow_abbrev=False)
        self.add_argument("--corpus")
        self.add_argument("--results", default="results")
        self.add_argument("--reports", default="reports")
        self.add_argument("--checkpoints")

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}.")


def absolute_arguments(arguments: Sequence[str], here: Path) -> list[str]:
    """`arguments` of a study with every place as an absolute path or URI; relative ones are meant from `here`."""
    places, rest = _Places().parse_known_args(arguments)
    named = {"--results": places.results, "--reports": places.reports, "--checkpoints": places.checkpoints}
    for option, place in named.items():
        if place is not None:
            rest += [option, place if is_absolute(place) else str((here / place).resolve())]
    return rest if places.corpus is None else [*rest, "--corpus", _corpus(places.corpus, here)]


def _corpus(name_or_folder: str, here: Path) -> str:
    """The folder that a study started in `here` would find; a name alone where the job finds or makes the corpus."""
    if name_or_folder not in TWINS:
        for folder in (here / name_or_folder, here / CORPORA / name_or_folder):
            if (folder / MANIFEST).is_file():
                return str(folder.resolve())
    return name_or_folder


def files_sent(folder: Path) -> list[Path]:
    """The files in `folder` that Ray would send, found by Ray's own walk: it knows .gitignore, .rayignore, and what
    is left out always."""
    from ray._private import ray_constants
    from ray._private.runtime_env import packaging

    found: list[Path] = []
    packaging._dir_travel(
        folder,
        [packaging._get_excludes(folder, ray_constants.get_runtime_env_default_excludes())],
        lambda path: found.append(path) if path.is_file() else None,
        include_gitignore=os.environ.get(ray_constants.RAY_RUNTIME_ENV_IGNORE_GITIGNORE, "0") != "1",
        logger=logging.getLogger(__name__),
    )
    return found


def refuse_too_large(folder: Path, sent: Sequence[Path]) -> None:
    """Refuse what Ray's job server would refuse after the upload, and name what is large."""
    sizes: Counter[str] = Counter()
    for path in sent:
        name = path.relative_to(folder)
        sizes[name.parts[0]] += path.stat().st_size + ZIP_ENTRY + 2 * len(name.as_posix().encode())
    if sizes.total() > LIMIT:
        largest = ", ".join(f"{name} ({size / 1024**2:.1f} MiB)" for name, size in sizes.most_common(3))
        raise UserError(
            f"{folder}: {sizes.total() / 1024**2:.1f} MiB would be sent, and Ray takes {LIMIT // 1024**2} MiB; leave "
            f"out with a .rayignore what the job does not need, the largest being {largest}."
        )


def _settle_token(address: str, allow_open: bool) -> None:
    """Refuse a cluster that lets everybody in, or make Ray (not imported yet) show our token to one that does not."""
    if _lets_everybody_in(address):
        if not allow_open:
            raise open_to_all(address)
        os.environ["RAY_AUTH_MODE"] = "disabled"  # Our token is for those who ask for it.
        return
    if _shows_what_is_sent(address):
        raise UserError(
            f"--address {address}: http would show our token to everyone on the way; give an https address or a tunnel, "
            "as by ssh -L 8265:127.0.0.1:8265 HOST."
        )
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if not os.environ.get("RAY_AUTH_TOKEN") and not _has_text(file):
        raise UserError(f"--address {address}: asks for a token, and there is none in RAY_AUTH_TOKEN or {file}.")
    os.environ["RAY_AUTH_MODE"] = "token"


def _has_text(file: Path) -> bool:
    try:
        return bool(file.read_text(encoding="utf-8").strip())
    except OSError:
        return False


def _shows_what_is_sent(address: str) -> bool:
    """Whether a dashboard at `address` is reached without encryption and not on this machine."""
    parts = urlsplit(address)
    try:
        here = ip_address(parts.hostname or "").is_loopback
    except ValueError:
        here = parts.hostname == "localhost"
    return parts.scheme != "https" and not here


def _lets_everybody_in(address: str) -> bool:
    try:
        with urlopen(f"{address}/api/version", timeout=SECONDS):
            return True
    except HTTPError as error:
        if error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return False
        raise UserError(f"--address {address}: is not the dashboard of a Ray cluster (status {error.code}).") from None
    except (URLError, OSError, ValueError):
        raise UserError(f"--address {address}: no dashboard of a Ray cluster answers there.") from None


def _client(address: str) -> Any:
    # Ray prefers what these say to the address that it is given.
    os.environ["RAY_API_SERVER_ADDRESS"] = address
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    # Otherwise Ray tells of every step, and of .gitignore three times.
    for handler in logging.getLogger("ray").handlers:
        handler.setLevel(logging.ERROR)
    try:
        return JobSubmissionClient(address)
    except AuthenticationError:
        raise UserError(f"--address {address}: takes another token than ours.") from None
    except (ConnectionError, RuntimeError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"--address {address}: is not the dashboard of a Ray cluster ({reason}).") from None


def _follow(client: Any, job: str, address: str) -> int:
    """Print the job's log until it ends: its exit status, 1 where it has none."""
    from aiohttp import ClientError

    at = f"--address {address} {job}"
    try:
        asyncio.run(_print_log(client, job))
        while not (info := client.get_job_info(job)).status.is_terminal():
            time.sleep(1.0)
    except KeyboardInterrupt:
        print(
            f"affect: job {job} is no longer followed, and goes on; "
            f"`ray job logs --follow {at}` follows it again, `ray job stop {at}` ends it.",
            file=sys.stderr,
        )
        return INTERRUPTED
    except (ClientError, OSError, RuntimeError) as error:
        raise UserError(
            f"job {job} is out of sight ({str(error).splitlines()[0]}); `ray job status {at}` tells whether it goes on."
        ) from None
    code = info.driver_exit_code
    if code is None:
        print(f"affect: job {job} did not end by itself: {info.message or info.status}", file=sys.stderr)
    return code if code is not None and 0 <= code < 256 else 1


async def _print_log(client: Any, job: str) -> None:
    async for lines in client.tail_job_logs(job):
        print(lines, end="", flush=True)
