"""What the engine tells a report, on the ladder study itself. Nothing is trained."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from affect.engine.evidence import _options, evidence
from affect.engine.plan import plan
from affect.engine.preview import resolution
from affect.engine.store import Store
from affect.report import Evidence
from affect.report.analysis import analyse
from affect.report.published import read_published
from affect.resolved import Resolved
from affect.study import Study

from .conftest import SYSTEMS, make_resolved

FILE = Path(__file__).parents[2] / "studies" / "ladder_ablation.py"


@pytest.fixture(scope="module")
def study() -> Study:
    spec = importlib.util.spec_from_file_location("ladder_ablation", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.STUDY


def resolved_with(study: Study, systems: tuple[str, ...] = SYSTEMS, **changes: Any) -> Resolved:
    rows = tuple(row for row in study.scales["demo"].rows if row.system in systems)
    return make_resolved(study=study, scale="demo", rows=rows, **({"overrides": {}} | changes))


def options(resolved: Resolved, folder: Path) -> dict[tuple[str, str], int]:
    """As if every choice had been made."""
    wanted = plan(resolved, Store(str(folder), "ladder_ablation").rows())
    decided = {key: () for key in wanted.expected}
    return _options(resolved, dataclasses.replace(wanted, finals=decided))


def test_options_count_the_distinct_candidates_that_score_a_target(study: Study, tmp_path: Path) -> None:
    found = options(resolved_with(study), tmp_path)
    assert {found["STL", target] for target in study.targets} == {1}
    assert {found["Lad+UL+MTL", target] for target in study.targets} == {6}
    merged = options(resolved_with(study, overrides={"alpha": 0.5, "beta": 0.2}), tmp_path)
    assert set(merged.values()) == {1}


def test_the_frames_of_the_engine_are_evidence(study: Study, tmp_path: Path) -> None:
    resolved = resolved_with(study)
    frames = evidence(resolved, Store(str(tmp_path), "ladder_ablation"))
    assert set(frames["choices"]["options"]) == {1}, "MTL rows are undecided"
    analyse(Evidence(resolved, **frames))


def test_plan_and_report_speak_of_the_same_family(study: Study, tmp_path: Path) -> None:
    resolved = resolved_with(study, ("STL", "Lad+UL+MTL"), seeds=8)
    frames = evidence(resolved, Store(str(tmp_path), "ladder_ablation"))
    family = analyse(Evidence(resolved, **frames)).families[0, "test", "STL"]
    assert (family.size, family.needed, family.resolvable) == (15, 9, False)
    said = "Against STL: 15 declared comparisons per partition under Holm need 9 seeds for p < 0.05; 8 are too few"
    assert any(line.startswith(said) for line in resolution(resolved))
    alone = "No comparison with STL, which is the only system that is no floor."
    assert alone in resolution(resolved_with(study, ("ridge", "STL")))


def test_the_ladder_study_names_its_published_gains_and_its_caveats(study: Study) -> None:
    (claim,) = (claim for claim in study.claims if claim.kind == "relative_gain")
    published = read_published(claim.published)
    assert published is not None
    assert published.gains_baseline == claim.baselines[0]
    assert all(published.gains[target] is not None for target in claim.targets)
    assert any("batch-norm statistics at inference" in note for note in study.notes)
    assert any("1/fan_in" in note for note in study.notes)
