"""How to reach Ray, or keep it from being reached: settings that Ray reads from the environment when imported, and
whether a Ray lets everybody in."""

from __future__ import annotations

import os
import socket
import sys

from affect.errors import UserError

SECONDS = 5.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")
ANY_CALL = "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo"
"""A call that every Ray answers; its empty request is valid."""


def prepare(address: str | None) -> None:
    """Set the environment for a Ray of our own (no address) or for joining the cluster at `address`.

    Ray binds to loopback alone only where it takes the machine for one that cannot be part of a cluster; everywhere
    else it replaces loopback by a routable address, which also keeps it from joining a Ray that was started like
    that. An address at which nothing listens is refused here: Ray itself would try for many minutes.
    """
    if (address is None or _loopback_only(address)) and "ray" not in sys.modules:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")


def is_open(address: str) -> bool:
    """Whether others can use the Ray at `address` (host:port) without a token: asked as a stranger would ask. UserError
    where it does not answer strangers, unless it is one with TLS: that asks everybody for a certificate."""
    import grpc

    if _loopback_only(address):
        return False
    with grpc.insecure_channel(address) as channel:
        try:
            channel.unary_unary(ANY_CALL)(b"", timeout=SECONDS)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                return False
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
                    return False
                raise UserError(
                    f"{address}: did not say whether it asks for a token ({error.code().name}); try again, or add "
                    "--allow-open-cluster."
                ) from None
    return True


def open_to_all(address: str) -> UserError:
    """What is said of a cluster that lets everybody in."""
    return UserError(
        f"--address {address}: asks for no token, so anyone who reaches it can run code there; start it with "
        "RAY_AUTH_MODE=token, or add --allow-open-cluster."
    )


def _loopback_only(address: str) -> bool:
    """Whether the Ray at `address` is on this machine and not to be reached from any other."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return False  # `auto`: Ray looks for the cluster itself.
    if not _answers(host, int(port)):
        raise UserError(f"--address {address}: nothing answers there.")
    return host in LOOPBACK and not _answers(_routable(), int(port))


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=SECONDS):
            return True
    except (OSError, OverflowError):
        return False


def _routable() -> str:
    """The address of this machine that others would use; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 80))
        except OSError:
            return LOOPBACK[0]
        return str(probe.getsockname()[0])
