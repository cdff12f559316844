"""How the workers of one trial find each other: through a file in the folder of their checkpoints, and no port.

Ray Train's own way is a store of torch's that listens on every interface of a machine and lets everybody in.
Imports Ray, so it is itself imported where a trainer runs.
"""

from __future__ import annotations

import os
import sys
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import ray
import torch.distributed as dist
from ray.train.torch import TorchConfig

LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
GLOO = "GLOO_SOCKET_IFNAME"
INTERFACES = (GLOO, "NCCL_SOCKET_IFNAME")
"""Variables that say which interface workers use among themselves."""


@dataclass
class FileConfig(TorchConfig):
    """Workers that form torch's default group through a file; one that is alone forms none."""

    folder: str = ""
    """One that all of them see."""

    @property
    def backend_cls(self) -> Any:
        return _FileBackend


class _FileBackend(TorchConfig().backend_cls):  # type: ignore[misc]
    """Starts the group; Train's own backend ends it."""

    def on_start(self, worker_group: Any, backend_config: FileConfig) -> None:
        size = len(worker_group)
        if size == 1:
            return
        nodes = set(worker_group.execute(_node))
        file = Path(backend_config.folder) / f"rendezvous-{uuid.uuid4().hex}"
        joining = [
            worker_group.execute_single_async(rank, _join, rank, size, file, backend_config, len(nodes) == 1)
            for rank in range(size)
        ]
        ray.get(joining)


def _node() -> str:
    return str(ray.get_runtime_context().get_node_id())


def interface(address: str) -> str | None:
    """The network interface that has the IP `address`; None where that is the name of a host, or nobody's."""
    import psutil

    with suppress(ValueError):
        if ip_address(address).is_loopback:  # All of 127.0.0.0/8 is, of which the interface has one.
            return LOOPBACK
    found = [name for name, own in psutil.net_if_addrs().items() if address in (entry.address for entry in own)]
    return found[0] if found else None


def _join(rank: int, size: int, file: Path, config: FileConfig, one_node: bool) -> None:
    """Join the group of all workers. Those of one node need no other interface than loopback. Between nodes gloo is told
    that by which Ray reaches them: left to itself it takes whatever the host's name stands for, which may be loopback."""
    if one_node:
        for name in INTERFACES:
            os.environ.setdefault(name, LOOPBACK)
    elif used := interface(ray.util.get_node_ip_address()):
        os.environ.setdefault(GLOO, used)
    patience = timedelta(seconds=config.timeout_s)
    dist.init_process_group(config.backend, f"file://{file}", patience, size, rank)
