"""Runs in this process: stages, resume, failures, time limits, rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from affect.engine import run as run_module
from affect.engine.evidence import evidence
from affect.engine.executors import Inline, Outcome
from affect.engine.packs import Measure, Pack
from affect.engine.plan import plan
from affect.engine.progress import State
from affect.engine.results import Workplace
from affect.engine.run import Summary, run
from affect.engine.store import Store
from affect.engine.work import Probe
from affect.errors import UserError
from affect.resolved import Resolved
from affect.study import Row
from tests.engine.helpers import GRID, NO_ROWS

Resolve = Callable[..., Resolved]


class Silent:
    def __init__(self) -> None:
        self.states: list[State] = []

    def show(self, state: State) -> None:
        self.states.append(state)


def go(resolved: Resolved, results: Path, place: Workplace, max_minutes: float | None = None) -> Summary:
    store = Store(str(results), resolved.study.name)
    with store.locked():
        return run(resolved, store, Inline(), place, Silent(), max_minutes)


def rows_in(results: Path) -> pd.DataFrame:
    return Store(str(results), "trial_study").trials()


def stripped(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows without what differs between runs of the same trials."""
    keys = ["trial", "partition", "target"]
    kept = frame.drop(columns=["wall_seconds", "pack", "pack_size"])
    names = {name: "str" for name, kind in kept.dtypes.items() if isinstance(kind, pd.CategoricalDtype)}
    return kept.astype(names).sort_values(keys, ignore_index=True)


def test_all_stages_run_in_one_go(resolve: Resolve, place: Workplace, tmp_path: Path) -> None:
    resolved = resolve(Row("toy", GRID), Row("other"), seeds=3)
    summary = go(resolved, tmp_path, place)
    assert (summary.left, summary.failed, summary.stopped) == (0, (), False)
    rows = rows_in(tmp_path)
    assert summary.trained == rows["trial"].nunique()
    assert not rows.duplicated(["trial", "partition", "target", "metric"]).any()
    assert set(rows["partition"]) == {"train", "development", "test"}
    assert rows["value"].notna().all()
    assert (rows["epoch"] == 3).all()
    assert {"hp_alpha", "hp_noise", "hp_fault"} <= set(rows)
    sizes = rows.groupby("partition", observed=True)["n"].first()
    assert dict(sizes) == {"development": 40, "test": 50, "train": 120}
    frames = evidence(resolved, Store(str(tmp_path), "trial_study"))
    assert len(frames["values"]) == 2 * 3 * 3 * 3
    assert len(frames["expected"]) == 2 * 3 * 3
    assert len(frames["curves"]) == 2 * 3 * 3 * 3
    assert not frames["values"].duplicated(["system", "target", "partition", "seed"]).any()
    predictions = pd.read_parquet(tmp_path / "trial_study" / "predictions")
    scored = len(rows[["trial", "target"]].drop_duplicates())
    assert len(predictions) == scored * (40 + 50)


def test_a_finished_study_has_nothing_to_do(resolve: Resolve, place: Workplace, tmp_path: Path) -> None:
    resolved = resolve(Row("toy", GRID))
    go(resolved, tmp_path, place)
    files = {p: p.stat().st_mtime_ns for p in (tmp_path / "trial_study").rglob("*.parquet")}
    summary = go(resolved, tmp_path, place)
    assert summary.trained == 0
    assert files == {p: p.stat().st_mtime_ns for p in (tmp_path / "trial_study").rglob("*.parquet")}
    more = go(replace(resolved, seeds=3), tmp_path, place)
    assert 0 < more.trained <= 3, "only the new seed of the chosen candidates"


def test_scores_are_concordance_of_stored_predictions(resolve: Resolve, place: Workplace, tmp_path: Path) -> None:
    from affect.stats.concordance import ccc

    go(resolve(Row("toy")), tmp_path, place)
    rows = rows_in(tmp_path).set_index(["trial", "partition", "target"])["value"]
    predictions = pd.read_parquet(tmp_path / "trial_study" / "predictions")
    for key, part in predictions.groupby(["trial", "partition", "target"], observed=True):
        assert rows[key] == pytest.approx(ccc(part["truth"], part["prediction"]), abs=1e-6)


def test_a_failing_trial_harms_no_other(resolve: Resolve, place: Workplace, tmp_path: Path) -> None:
    candidates = ({"alpha": 1.0, "beta": 0.0}, {"alpha": 0.0, "beta": 1.0, "fault": "error"}, {"alpha": 0, "beta": 0})
    resolved = resolve(Row("toy", candidates))
    summary = go(resolved, tmp_path, place)
    assert [t.seed for t, _ in summary.failed] == [0, 1]
    assert {message for _, message in summary.failed} == {"ArithmeticError: this\nnever works"}
    rows = rows_in(tmp_path)
    assert dict(rows.groupby("status", observed=True)["trial"].nunique()) == {"complete": 4, "failed": 2}
    failed = rows[rows["status"] == "failed"]
    assert set(failed["message"]) == {"ArithmeticError: this never works"}
    assert failed["value"].isna().all()
    again = go(resolved, tmp_path, place)
    assert len(again.failed) == 2, "failed trials are tried again"
    assert len(rows_in(tmp_path)) == len(rows)


def test_a_failed_row_gives_way_to_its_trial(resolve: Resolve, place: Workplace, tmp_path: Path) -> None:
    from affect.engine.results import failed_result
    from affect.engine.work import run_pack

    trials = plan(resolve(Row("toy")), NO_ROWS).trials
    store = Store(str(tmp_path), "trial_study")
    with store.locked():
        alone, both = Pack(trials[:1]), Pack(trials)
        store.commit(alone, failed_result(alone, place, "no"))
        assert set(store.trials()["status"]) == {"failed"}
        store.commit(both, run_pack(both, place))
        assert set(store.trials()["status"]) == {"complete"}
        assert len((store.folder / "trials").names("")) == 1


def test_out_of_memory_halves_the_pack(resolve: Resolve, place: Workplace, tmp_path: Path) -> None:
    resolved = resolve(Row("toy", ({"fault": "memory"},)), seeds=4)
    summary = go(resolved, tmp_path, place)
    assert summary.trained == 4
    assert not summary.failed
    rows = rows_in(tmp_path)
    assert set(rows["pack_size"]) == {1}
    store = Store(str(tmp_path), "trial_study")
    assert {len(m.trials) for m in store.memberships()} == {1}, "halvings are recorded"


def test_a_diverged_trial_is_settled_without_values(resolve: Resolve, place: Workplace, tmp_path: Path) -> None:
    resolved = resolve(Row("toy", ({"fault": "diverge"}, {"noise": 0.2})))
    summary = go(resolved, tmp_path, place)
    assert summary.left == 0
    rows = rows_in(tmp_path)
    assert rows.loc[rows["status"] == "diverged", "value"].isna().all()
    assert summary.plan.finals["toy", 1.0, "valence"][0].settings["noise"] == 0.2


def test_the_users_mistake_ends_the_run(resolve: Resolve, place: Workplace, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="row 3"):
        go(resolve(Row("toy", ({"fault": "mistake"},))), tmp_path, place)


def test_the_time_limit_drops_what_is_in_work(resolve: Resolve, place: Workplace, tmp_path: Path) -> None:
    resolved = resolve(Row("toy", ({"seconds": 6.0},)), Row("other"))
    started = time.monotonic()
    summary = go(resolved, tmp_path, place, max_minutes=0.02)
    assert summary.stopped
    assert summary.left > 0
    assert time.monotonic() - started < 30
    assert set(rows_in(tmp_path)["system"]) <= {"other"}


class Noting(Inline):
    """Notes what is trained in which order: by its own account packs of three toys in 30 s, others one by one in 8 s."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[tuple[str, int]] = []

    def measure(self, probes: Sequence[Probe]) -> list[Measure]:
        return [Measure(3, 10.0) if probe.system == "toy" else Measure(1, 8.0) for probe in probes]

    def submit(self, pack: Pack) -> None:
        self.order.append((pack.system, len(pack.trials)))
        super().submit(pack)


@pytest.mark.parametrize(
    ("seconds", "first"),
    [
        (None, [("toy", 3)]),  # longest first
        (60, [("toy", 3)]),  # all fits
        (48, [("other", 1)]),  # it does not: cheapest trials first
        (4, []),  # nothing would end in time
    ],
)
def test_where_time_is_short_most_trials_come_first(
    resolve: Resolve, place: Workplace, tmp_path: Path, seconds: float | None, first: list[tuple[str, int]]
) -> None:
    rows = Row("toy"), Row("other", ({"width": 5},))
    resolved, store, executor = resolve(*rows, seeds=3), Store(str(tmp_path), "trial_study"), Noting()
    with store.locked():
        summary = run(resolved, store, executor, place, Silent(), seconds and seconds / 60)
    assert executor.order[:1] == first
    assert (summary.stopped, summary.left) == ((False, 0) if first else (True, 6)), "packs take less than they say"


class Clocked(Inline):
    """Workers on a clock of their own, on which packs of a system take what `truth` says."""

    def __init__(self, slots: int, expected: dict[str, Measure], truth: dict[str, float]) -> None:
        super().__init__()
        self.slots, self.expected, self.truth = slots, expected, truth
        self.now = 0.0
        self.running: list[tuple[float, Pack]] = []
        self.order: list[str] = []

    def monotonic(self) -> float:
        return self.now

    def measure(self, probes: Sequence[Probe]) -> list[Measure]:
        return [self.expected[probe.system] for probe in probes]

    @property
    def free(self) -> int:
        return self.slots - len(self.running)

    def submit(self, pack: Pack) -> None:
        self.order.append(pack.system)
        self.running.append((self.now + self.truth[pack.system], pack))

    def wait(self, seconds: float) -> list[Outcome]:
        ends, pack = min(self.running, key=lambda each: each[0])
        if ends > self.now + seconds:
            self.now += seconds
            return []
        self.now = ends
        self.running.remove((ends, pack))
        super().submit(pack)
        return super().wait(0)


@pytest.fixture
def clocked(
    resolve: Resolve, place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Summary, Clocked]]:
    def make(minutes: float, slots: int, expected: dict[str, Measure], truth: dict[str, float], seeds: int) -> Any:
        executor = Clocked(slots, expected, truth)
        monkeypatch.setattr(run_module, "time", executor)
        rows = [Row("toy"), Row("other", ({"width": 5},))][: len(expected)]
        store = Store(str(tmp_path), "trial_study")
        with store.locked():
            return run(resolve(*rows, seeds=seeds), store, executor, place, Silent(), minutes), executor

    return make


def test_a_bad_guess_of_one_system_stops_no_other(clocked: Callable[..., tuple[Summary, Clocked]]) -> None:
    """Twenty that take forty times what was guessed, and then as many of the others as fit into the hour."""
    expected, truth = {"toy": Measure(1, 0.5), "other": Measure(1, 900.0)}, {"toy": 20.0, "other": 900.0}
    summary, executor = clocked(60, 1, expected, truth, seeds=20)
    assert executor.order == ["toy"] * 20 + ["other"] * 3
    assert (summary.trained, summary.stopped) == (23, True)


def test_the_first_pack_tells_whether_the_second_fits(clocked: Callable[..., tuple[Summary, Clocked]]) -> None:
    """What is expected to take 15 minutes takes 35: a second would be lost."""
    summary, executor = clocked(60, 1, {"toy": Measure(1, 900.0)}, {"toy": 2100.0}, seeds=5)
    assert executor.order == ["toy"]
    assert (summary.trained, summary.left) == (1, 4)
    assert executor.now < 3600, "and it does not wait for nothing"


def test_what_takes_less_than_expected_leaves_no_time_unused(
    clocked: Callable[..., tuple[Summary, Clocked]],
) -> None:
    summary, _ = clocked(70, 2, {"toy": Measure(1, 2400.0)}, {"toy": 600.0}, seeds=12)
    assert (summary.trained, summary.stopped) == (12, False)


def test_more_time_never_gives_less(clocked: Callable[..., tuple[Summary, Clocked]]) -> None:
    """Long packs all of which seemed to fit, and take half as long again: the short ones are not what is lost."""
    expected, truth = {"toy": Measure(1, 300.0), "other": Measure(1, 30.0)}, {"toy": 450.0, "other": 45.0}
    summary, executor = clocked(56, 1, expected, truth, seeds=10)
    assert executor.order[0] == "toy", "330 s ten times fit into 56 minutes"
    assert executor.order.count("other") == 10
    assert summary.trained == len(executor.order)


def test_an_interrupted_pack_reruns_whole(resolve: Resolve, place: Workplace, tmp_path: Path) -> None:
    resolved = resolve(Row("toy"), Row("other"), seeds=10)
    go(resolved, tmp_path / "a", place)
    go(resolved, tmp_path / "b", place)
    folder = tmp_path / "b" / "trial_study"
    lost = sorted((folder / "trials").iterdir())[1::2]
    for path in lost:
        path.unlink()
    known = {p.name for p in (folder / "packs").iterdir()}
    go(resolved, tmp_path / "b", place)
    assert {p.name for p in (folder / "trials").iterdir()} >= {p.name for p in lost}
    assert {p.name for p in (folder / "packs").iterdir()} == known, "membership was fixed when first planned"
    pd.testing.assert_frame_equal(stripped(rows_in(tmp_path / "a")), stripped(rows_in(tmp_path / "b")))


def test_progress_ends_complete(resolve: Resolve, place: Workplace, tmp_path: Path) -> None:
    resolved = resolve(Row("toy", GRID), Row("other"))
    store, shown = Store(str(tmp_path), "trial_study"), Silent()
    with store.locked():
        run(resolved, store, Inline(), place, shown)
    last = shown.states[-1]
    assert last.done == last.total
    assert last.exact
    assert last.share == pytest.approx(1)
    assert all(state.seconds_left is not None for state in shown.states if state.running), (
        "known before a pack has ended"
    )
    shares = list({state.done: state.share for state in shown.states}.values())
    assert len(shares) > 2
    assert shares == sorted(shares), "from pack to pack"
