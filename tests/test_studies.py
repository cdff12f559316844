"""P2's studies as declarations: what they name exists, or is said not to. Nothing is trained."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path

import pytest

from affect.data.twin import twin_facts
from affect.engine.plan import plan, task_facts, task_spec
from affect.report.build import _CAPTIONS
from affect.report.figures import RENDERERS
from affect.report.findings import KINDS
from affect.report.published import published_for
from affect.study import ALL_VIEWS, Resolved, Study
from affect.systems import registry
from tests.engine.helpers import NO_ROWS

FOLDER = Path(__file__).parents[1] / "studies"
STUDIES = ("smvae_label_fractions", "simvae_missing_views")
TWINS = {"seed-twin-demo": "emotion", "deap-twin-demo": "quadrant"}


def study_of(name: str) -> Study:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.STUDY


def resolved_of(name: str, twin: str, scale: str) -> Resolved:
    of_scale = twin if scale == "demo" else twin.removesuffix("-demo")
    facts = twin_facts(of_scale, "as_published", view=ALL_VIEWS)
    study = study_of(name).on(facts)
    given = study.scales[scale]
    return Resolved(
        study=study,
        scale=scale,
        corpus=facts,
        rows=given.rows,
        label_fractions=given.label_fractions,
        seeds=given.seeds,
        selection_seeds=given.selection_seeds,
        preset="paper",
        protocol="as_published",
        overrides={},
        device="cpu",
    )


CASES = list(itertools.product(STUDIES, TWINS, ("demo", "full")))


@pytest.mark.parametrize(("name", "twin", "scale"), CASES)
def test_every_cell_can_be_planned(name: str, twin: str, scale: str) -> None:
    resolved = resolved_of(name, twin, scale)
    assert resolved.study.targets == (TWINS[twin],)
    names = [row.name for row in resolved.rows]
    assert len(set(names)) == len(names)
    wanted = plan(resolved, NO_ROWS)
    assert set(wanted.expected) == {(n, f, TWINS[twin]) for n in names for f in resolved.label_fractions}
    known = registry()
    for row in resolved.rows:
        for fraction in resolved.label_fractions:
            facts = task_facts(resolved.corpus, task_spec(resolved, fraction, row))
            known[row.system].structure(next(t for t in wanted.trials if t.system == row.system).settings, facts)


@pytest.mark.parametrize("name", STUDIES)
def test_tables_figures_and_claims_name_what_is_there(name: str) -> None:
    resolved = resolved_of(name, "seed-twin-demo", "demo")
    study = resolved.study
    for figure in study.figures:
        assert figure.kind in RENDERERS
        assert figure.kind in _CAPTIONS
        if figure.kind == "learned":
            assert figure.system in {row.name for row in resolved.rows}
        elif figure.system:
            assert any(row.system == figure.system and set(row.factors) == set(figure.factors) for row in resolved.rows)
    rows = {row.name for row in resolved.rows} | {row.label or row.system for row in resolved.rows if row.factors}
    for claim in study.claims:
        assert claim.kind in KINDS
        unknown = {*claim.systems, *claim.baselines} - rows
        assert not unknown - {"M2 (PPS)"}, f"{claim.sentence}: {unknown}"
    assert {claim.targets for claim in study.claims} == {("emotion",)}


@pytest.mark.parametrize(("twin", "single"), [("seed-twin-demo", "M2 (Eye)"), ("deap-twin-demo", "M2 (PPS)")])
def test_the_rows_of_table_2_are_those_of_the_paper(twin: str, single: str) -> None:
    resolved = resolved_of("smvae_label_fractions", twin, "demo")
    (table,) = (table for table in resolved.study.tables if table.kind == "fractions")
    published = published_for(table.published, twin)
    assert published is not None
    ours = [row.name for row in resolved.rows if row.competes]
    assert set(published.cells["test"]) - set(ours) == set()
    assert single in ours
    assert set(ours) - set(published.cells["test"]) == {"MVAE", "MoPoE-VAE"}
    transductive = [row.name for row in resolved.rows if row.transductive]
    assert transductive == ["AMMSS", "AMGL", "MAE+TSVM", "DCCA+TSVM", "DCCAE+TSVM", "SMVAE (transductive)"]
