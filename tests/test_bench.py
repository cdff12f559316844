"""Benchmarks take too long to run here; that all of them are still there to be run is seen by their imports."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests import bench

MODULES = sorted(path.stem for path in Path(bench.__file__).parent.glob("[!_]*.py"))


@pytest.mark.parametrize("name", MODULES)
def test_a_benchmark_can_be_imported(name: str) -> None:
    if name == "pyro_m2":
        pytest.importorskip("pyro")
    importlib.import_module(f"tests.bench.{name}")
