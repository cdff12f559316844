"""Which executor a command line asks for: its options, their mistakes, and the executor itself."""

from __future__ import annotations

import argparse
from pathlib import Path

from affect.engine.executors import Executor, Inline, local_slots
from affect.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that say with which executor; those of Ray Train in a group of their own."""
    group = parser.add_argument_group("where it is trained")
    add = group.add_argument
    add(
        "--executor",
        choices=("ray", "train", "inline"),
        default="ray",
        help="ray: all cores or GPUs, a trial on one of them; train: Ray Train, which gives a trial several workers "
        "and saves it while it trains; inline: this process alone",
    )
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: cuda where there is one")
    add("--address", help="join the Ray cluster at this address; its nodes must see the corpus at the same path")
    add("--allow-open-cluster", action="store_true", help="join it although it asks for no token")
    group = parser.add_argument_group("with --executor train")
    add = group.add_argument
    add("--workers-per-trial", type=int, metavar="N", help="workers that share each batch of a trial; default: 1")
    add(
        "--gpus-per-worker",
        type=float,
        metavar="F",
        help="GPUs of a worker; default: 1. Less, as 0.25, where trials of one worker are to share a GPU",
    )
    add(
        "--checkpoints",
        metavar="DIR",
        help="folder for the state of trials in training, emptied when the run ends or, where it was killed, by the "
        "next one on the same machine; default: a temporary one. On several nodes it must be one that all of them see",
    )


def check(args: argparse.Namespace, device: str) -> None:
    """Refuse options of Ray Train that contradict the others or each other."""
    for name in ("workers_per_trial", "gpus_per_worker", "checkpoints"):
        if getattr(args, name) is not None and args.executor != "train":
            raise UserError(f"--{name.replace('_', '-')} {getattr(args, name)}: goes with --executor train.")
    workers, share = _workers(args)
    if workers < 1:
        raise UserError(f"--workers-per-trial {workers}: must be at least 1.")
    if args.gpus_per_worker is not None and device != "cuda":
        raise UserError(f"--gpus-per-worker {share:g}: this run is on the CPU.")
    if not 0 < share <= 1:
        raise UserError(f"--gpus-per-worker {share:g}: a worker uses one GPU, or a part of one.")
    if share < 1 and workers > 1:
        raise UserError(f"--gpus-per-worker {share:g}: the {workers} workers of a trial need a GPU each.")
    if args.checkpoints is not None and not Path(args.checkpoints).is_dir():
        raise UserError(f"--checkpoints {args.checkpoints}: there is no such folder.")


def slots_here(args: argparse.Namespace, device: str) -> int:
    """Packs that this machine would train at once."""
    workers, share = _workers(args)
    return 1 if args.executor == "inline" else max(1, int(local_slots(device) / (workers * share)))


def executor(args: argparse.Namespace, device: str) -> Executor:
    """The executor that `args`, checked, ask for."""
    if args.executor == "inline":
        return Inline()
    if args.executor == "train":
        from affect.engine.on_train import OnTrain

        workers, share = _workers(args)
        folder = None if args.checkpoints is None else Path(args.checkpoints).resolve()
        return OnTrain(
            device,
            args.address,
            workers=workers,
            share=share,
            checkpoints=folder,
            allow_open=args.allow_open_cluster,
        )
    from affect.engine.on_ray import OnRay

    return OnRay(device, args.address, allow_open=args.allow_open_cluster)


def _workers(args: argparse.Namespace) -> tuple[int, float]:
    """Workers of a trial, and CPUs or GPUs of each."""
    workers, share = args.workers_per_trial, args.gpus_per_worker
    return 1 if workers is None else workers, 1.0 if share is None else share
