"""The numbers of a report against values worked out here by other means."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from affect.report import Evidence
from affect.report.analysis import analyse
from affect.report.cube import PARTITIONS

from .conftest import SYSTEMS, TARGETS, make_evidence, make_resolved


def test_means_and_counts_equal_pandas(evidence: Evidence) -> None:
    cube = analyse(evidence).cube
    means = evidence.values.groupby(["system", "target", "partition"])["value"].mean()
    for (system, target, partition), mean in means.items():
        place = (0, cube.systems.index(system), cube.targets.index(target), PARTITIONS.index(partition))
        assert cube.means[place] == pytest.approx(mean)
        assert cube.counts[place] == 10
    assert cube.means[..., 3] == pytest.approx((cube.means[..., 1] + cube.means[..., 2]) / 2)
    assert cube.systems[-1] == "ridge"


def test_order_of_rows_does_not_matter(evidence: Evidence) -> None:
    shuffled = evidence.values.sample(frac=1, random_state=1)
    again = analyse(make_evidence(evidence.resolved, shuffled)).cube
    assert np.array_equal(analyse(evidence).cube.values, again.values)


def test_fisher_uses_the_rows_of_the_partition(evidence: Evidence) -> None:
    analysis = analyse(evidence)
    means = evidence.values.groupby(["system", "target", "partition"])["value"].mean()
    for partition, n in (("development", 3753), ("test", 7341)):
        family = analysis.families[0, partition, "STL"]
        for s, system in enumerate(family.systems):
            r1, r2 = means[system, "valence", partition], means["STL", "valence", partition]
            z = (np.arctanh(r1) - np.arctanh(r2)) / np.sqrt(2 / (n - 3))
            assert family.fisher[s, TARGETS.index("valence")] == pytest.approx(stats.norm.sf(z))
    variance = (1 / 3750 + 1 / 7338) / 4  # of the mean of two independent z
    assert analysis.cube.rows[0, 0, 0, PARTITIONS.index("mean")] == pytest.approx(3 + 1 / variance)


def test_family_is_every_other_system_but_floors_by_target(evidence: Evidence) -> None:
    family = analyse(evidence).families[0, "test", "MTL"]
    assert family.systems == tuple(system for system in SYSTEMS if system != "MTL")
    assert (family.size, family.seeds, family.needed, family.resolvable) == (15, 10, 9, True)


def test_to_run_fewer_systems_makes_no_mark_cheaper(evidence: Evidence) -> None:
    """The family is what the study declares; what was not run counts as p = 1."""
    resolved = make_resolved(rows=(make_resolved().rows[0], make_resolved().rows[5]))
    family = analyse(make_evidence(resolved)).families[0, "test", "STL"]
    assert family.systems == ("Lad+UL+MTL",)
    assert (family.size, family.needed) == (15, 9)
    assert family.extent == "15 declared comparisons (3 of them run)"
    by_hand = np.maximum.accumulate(np.sort(family.flip.ravel()) * (15, 14, 13))
    assert np.sort(family.holm.ravel()) == pytest.approx(by_hand)
    few = make_resolved(rows=resolved.rows, seeds=8)
    assert not analyse(make_evidence(few)).families[0, "test", "STL"].resolvable
    assert analyse(evidence).families[0, "test", "STL"].extent == "15 declared comparisons"


def test_family_of_a_resolved_study() -> None:
    resolved = make_resolved(rows=make_resolved().rows[:2])
    assert resolved.family("STL") == SYSTEMS[1:]
    assert resolved.family("MTL") == (SYSTEMS[0], *SYSTEMS[2:])


def test_paired_figures_equal_scipy(evidence: Evidence) -> None:
    family = analyse(evidence).families[0, "test", "STL"]
    wide = evidence.values.query("partition == 'test'").pivot_table("value", ["target", "seed"], "system")
    flip = []
    for s, system in enumerate(family.systems):
        for t, target in enumerate(TARGETS):
            d = (wide[system] - wide["STL"])[target].to_numpy()
            assert family.difference[s, t] == pytest.approx(d.mean())
            assert family.t[s, t] == pytest.approx(stats.ttest_1samp(d, 0, alternative="greater").pvalue)
            assert family.low[s, t] < d.mean() < family.high[s, t]
            flip.append(family.flip[s, t])
    order = np.argsort(flip)
    by_hand = np.maximum.accumulate(np.array(flip)[order] * np.arange(15, 0, -1)).clip(max=1)
    assert family.holm.ravel()[order] == pytest.approx(by_hand)


def test_pairs_are_common_seeds(with_values: Callable[..., Evidence]) -> None:
    def lose(values: pd.DataFrame) -> pd.DataFrame:
        stl, ladder = values["system"] == "STL", values["system"] == "Lad+L+STL"
        return values[~(stl & (values["seed"] == 0)) & ~(ladder & values["seed"].isin([0, 9]))]

    evidence = with_values(lose)
    family = analyse(evidence).families[0, "test", "STL"]
    assert family.pairs[family.systems.index("Lad+L+STL")].tolist() == [8, 8, 8]
    assert family.pairs[family.systems.index("MTL")].tolist() == [9, 9, 9]
    wide = evidence.values.query("partition == 'test' and target == 'arousal'").pivot(
        index="seed", columns="system", values="value"
    )
    expected = (wide["Lad+L+STL"] - wide["STL"]).dropna().mean()
    assert family.difference[family.systems.index("Lad+L+STL"), 0] == pytest.approx(expected)


def test_too_few_seeds_leave_no_paired_marks() -> None:
    analysis = analyse(make_evidence(make_resolved(seeds=8)))
    family = analysis.families[0, "test", "STL"]
    assert not family.resolvable
    assert "needs 9 seeds, and there are 8" in family.resolution
    assert analysis.marks(0, "test", "Lad+UL+MTL", 0) == ("•∗", "")
    assert analyse(make_evidence()).marks(0, "test", "Lad+UL+MTL", 0) == ("•∗", "•∗")


def test_without_baselines_or_values_there_is_nothing_to_compare() -> None:
    resolved = make_resolved()
    alone = make_resolved(rows=resolved.rows[2:3])
    assert analyse(make_evidence(alone)).families == {}
    empty = make_evidence(resolved, make_evidence(resolved).values.iloc[:0])
    family = analyse(empty).families[0, "test", "STL"]
    assert family.seeds == 0
    assert np.isnan(family.holm).all()


def test_a_frame_without_a_column_is_refused(evidence: Evidence) -> None:
    with pytest.raises(ValueError, match="values lacks the columns status"):
        make_evidence(evidence.resolved, evidence.values.drop(columns="status"))
