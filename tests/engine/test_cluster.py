"""Studies on a cluster of two nodes: submitted by `affect submit`, by Ray's own command, and with a node lost midway."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from affect.data.corpus import Corpus
from affect.engine.loopback import is_open
from affect.engine.provenance import source_hash
from tests.engine.cluster import Cluster, cluster
from tests.engine.helpers import PATIENCE, ROOT, kill, output_of

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(sys.platform != "linux", reason="two nodes on one machine need Linux' loopback addresses"),
]
STUDY = "studies/ladder_ablation.py"
SMALL = ("--systems", "STL", "ridge", "--seeds", "1", "--set", "epochs=1", "width=8")


TOYS_ALONE = """

from tests.engine.engine_fakes import SYSTEMS  # noqa: E402


def registry():
    return {system.name: system for system in SYSTEMS}
"""
"""Added to a clone: systems that take their time without taking a core."""


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[Cluster]:
    with cluster() as found:
        yield found


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A checkout of this project, of what a job needs."""
    folder = tmp_path / "clone"
    for name in ("affect", "search_spaces", "studies", "tests", "reports/published"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".gitignore", folder)
    git = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    return folder


def rows_in(results: Path) -> pd.DataFrame:
    return pd.read_parquet(results / "ladder_ablation" / "trials")


def test_affect_submit(ray_cluster: Cluster, clone: Path, corpus: Corpus) -> None:
    places = ("--corpus", str(corpus.folder), "--results", "../results", "--reports", "../reports")
    command = ["affect", "submit", "--address", ray_cluster.dashboard, STUDY, *SMALL, *places]
    done = ray_cluster.run(command, clone)
    assert done.returncode == 0, done.stdout
    assert f"Report: {clone.parent / 'reports' / 'ladder_ablation' / 'tiny'}" in done.stdout
    assert (clone.parent / "reports" / "ladder_ablation" / "tiny" / "report.html").exists()
    assert ray_cluster.token not in done.stdout
    rows = rows_in(clone.parent / "results")
    head = subprocess.run(["git", "-C", str(clone), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert set(rows["git_commit"]) == {head.stdout.strip()}
    assert set(rows["git_dirty"]) == {False}
    assert set(rows["source_hash"]) == {source_hash(clone)}


def test_a_script_by_its_name_and_places_that_would_be_lost(ray_cluster: Cluster, clone: Path) -> None:
    command = ["ray", "job", "submit", "--address", ray_cluster.dashboard, "--working-dir", ".", "--", STUDY]
    done = ray_cluster.run(command, clone)
    assert done.returncode == 1
    assert "--results results: would be lost with this job's copy of the code" in done.stdout


def test_a_driver_outside_gives_workers_its_own_code(ray_cluster: Cluster, corpus: Corpus, tmp_path: Path) -> None:
    assert not is_open(ray_cluster.address)
    (tmp_path / "affect").mkdir()
    (tmp_path / "affect" / "__init__.py").write_text("raise ImportError('another affect')")
    options = ("--address", ray_cluster.address, "--corpus", str(corpus.folder), *SMALL)
    done = ray_cluster.run(["python", str(ROOT / STUDY), *options], tmp_path)
    assert done.returncode == 0, done.stdout
    assert set(rows_in(tmp_path / "results")["source_hash"]) == {source_hash(ROOT)}


def test_workers_of_a_trial_on_two_nodes(ray_cluster: Cluster, corpus: Corpus, tmp_path: Path) -> None:
    train = ("--executor", "train", "--workers-per-trial", "2", "--checkpoints", str(tmp_path))
    options = ("--address", ray_cluster.address, "--corpus", str(corpus.folder), *SMALL, *train)
    done = ray_cluster.run(["python", str(ROOT / STUDY), *options], tmp_path)
    assert done.returncode == 0, done.stdout
    assert set(rows_in(tmp_path / "results")["status"]) == {"complete"}
    assert not list(tmp_path.glob("affect-train-*"))


def test_a_node_lost_midway_costs_only_its_packs(ray_cluster: Cluster, clone: Path, corpus: Corpus) -> None:
    with (clone / "affect" / "systems" / "__init__.py").open("a") as systems:
        systems.write(TOYS_ALONE)
    results, reports = clone.parent / "results", clone.parent / "reports"
    study = ("python", "tests/engine/toy_study.py", "--corpus", str(corpus.folder), "--set", "seconds=1")
    places = ("--results", str(results), "--reports", str(reports))
    command = ["ray", "job", "submit", "--address", ray_cluster.dashboard, "--working-dir", ".", "--", *study, *places]
    trials = results / "toys" / "trials"
    with ray_cluster.start(command, clone) as job:
        deadline = time.monotonic() + PATIENCE
        while not (trials.exists() and list(trials.glob("[!.]*"))):
            assert time.monotonic() < deadline
            assert job.poll() is None, job.communicate()
            time.sleep(0.02)
        before = {path.name: path.stat().st_mtime_ns for path in trials.glob("[!.]*")}
        assert any(name.startswith("ray::_Worker") for name in ray_cluster.names_on_second()), "it has a pack"
        kill(ray_cluster.second)
        output, _ = output_of(job)
    assert job.returncode == 0, output
    rows = pd.read_parquet(trials)
    assert set(rows["status"]) == {"complete"}
    assert not rows.duplicated(["trial", "partition", "target"]).any()
    assert before.items() <= {path.name: path.stat().st_mtime_ns for path in trials.glob("[!.]*")}.items()
    assert len(before) + 2 < rows["pack"].nunique(), "the node was lost with work left"
    assert rows["git_commit"].isna().all(), "Ray leaves .git behind"
    assert set(rows["source_hash"]) == {source_hash(clone)}
    assert (reports / "toys" / "report.html").exists()
