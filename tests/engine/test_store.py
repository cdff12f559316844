"""What a crash, a second run or a damaged disk can do to a results folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from affect.engine import files, index, requests
from affect.engine.executors import Inline
from affect.engine.packs import Pack, cut, pack_id
from affect.engine.plan import plan
from affect.engine.run import run
from affect.engine.store import TABLES, Store
from affect.engine.work import PackResult, Workplace, run_pack
from affect.errors import UserError
from affect.study import Resolved, Row, Trial
from tests.engine.helpers import NO_ROWS, Silent, another_run

Resolve = Callable[..., Resolved]


@pytest.fixture
def fitted(resolve: Resolve, place: Workplace) -> tuple[Pack, PackResult]:
    pack = Pack(plan(resolve(Row("toy")), NO_ROWS).trials)
    return pack, run_pack(pack, place, lambda done, total: None)


def go(resolved: Resolved, results: Path, place: Workplace, warn: Callable[[str], None] = print) -> None:
    store = Store(str(results), "trial_study", warn)
    with store.locked():
        run(resolved, store, Inline(), place, Silent())


@pytest.mark.parametrize("written", range(len(TABLES)))
def test_a_pack_counts_only_when_its_last_file_is_there(
    fitted: tuple[Pack, PackResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    store = Store(str(tmp_path), "trial_study")
    replace, calls = os.replace, []

    def die(source: Path, goal: Path) -> None:
        calls.append(goal)
        if len(calls) > written:
            raise SystemExit("killed")
        replace(source, goal)

    with store.locked():
        monkeypatch.setattr(os, "replace", die)
        with pytest.raises(SystemExit):
            store.commit(*fitted)
        monkeypatch.setattr(os, "replace", replace)
        assert store.trials().empty
        store.commit(*fitted)
        assert set(store.trials()["trial"]) == {t.id for t in fitted[0].trials}


def test_what_an_interrupted_writer_left_is_removed(tmp_path: Path) -> None:
    store = Store(str(tmp_path), "trial_study")
    with store.locked():
        left = store.folder / "trials" / f"{files.TEMPORARY}1-x.parquet"
        left.write_bytes(b"PAR1 half")
        assert store.trials().empty
    with store.locked():
        assert not left.exists()


def test_one_run_at_a_time_and_a_killed_one_lets_go(tmp_path: Path) -> None:
    with another_run(tmp_path, "trial_study") as holder:
        with pytest.raises(UserError, match="in use by another run"), Store(str(tmp_path), "trial_study").locked():
            pass
        holder.kill()
        holder.wait()
        with Store(str(tmp_path), "trial_study").locked():
            pass


def test_folders_of_other_studies_are_refused(tmp_path: Path) -> None:
    with Store(str(tmp_path), "one").locked():
        pass
    (tmp_path / "one").rename(tmp_path / "two")
    with pytest.raises(UserError, match=r"two/study.json: these are results of study one, not of two"):
        Store(str(tmp_path), "two")
    with pytest.raises(UserError, match="give the folder that it lies in"):
        Store(str(tmp_path / "two"), "one")
    (tmp_path / "three").mkdir()
    (tmp_path / "three" / "thesis.doc").touch()
    with pytest.raises(UserError, match="is not a results folder"):
        Store(str(tmp_path), "three")
    (tmp_path / "two" / "study.json").write_text('{"study": "two", "schema": 99}')
    with pytest.raises(UserError, match="newer"):
        Store(str(tmp_path), "two")
    with pytest.raises(UserError, match="not yet in s3"):
        Store("s3://bucket/results", "one")


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
@pytest.mark.parametrize("table", TABLES)
def test_damaged_files_are_set_aside_and_their_trials_run_again(
    resolve: Resolve, place: Workplace, tmp_path: Path, table: str, damage: str
) -> None:
    if damage == "flipped" and table != "trials":
        pytest.skip("contents of other tables are checked when they are read")
    resolved = resolve(Row("toy"), Row("other"))
    go(resolved, tmp_path, place)
    before = Store(str(tmp_path), "trial_study").trials()
    path = sorted((tmp_path / "trial_study" / table).iterdir())[0]
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "empty":
        content = bytearray()
    else:
        for i in range(100, 140):
            content[i] ^= 255
    path.write_bytes(content)
    sentences: list[str] = []
    go(resolved, tmp_path, place, sentences.append)
    assert len(sentences) == 1
    assert path.name in sentences[0]
    after = Store(str(tmp_path), "trial_study").trials()
    assert len(after) == len(before)
    assert set(after["trial"]) == set(before["trial"])
    assert (tmp_path / "trial_study" / "quarantine" / table / path.name).read_bytes() == bytes(content)


def test_readers_leave_damaged_files_where_they_are(fitted: tuple[Pack, PackResult], tmp_path: Path) -> None:
    sentences: list[str] = []
    store = Store(str(tmp_path), "trial_study", sentences.append)
    with store.locked():
        store.commit(*fitted)
    path = next((store.folder / "trials").iterdir())
    path.write_bytes(b"junk")
    assert store.trials().empty
    assert path.exists()
    assert len(sentences) == 1


def test_columns_of_all_systems_are_there(fitted: tuple[Pack, PackResult], tmp_path: Path) -> None:
    pack, result = fitted
    store = Store(str(tmp_path), "trial_study")
    with store.locked():
        for part, drop in zip(pack.split(2), ("hp_alpha", "hp_beta"), strict=True):
            ids = [t.id for t in part.trials]
            kept = [row for row in result.trials.to_pylist() if row["trial"] in ids]
            table = result.trials.from_pylist(kept, schema=result.trials.schema).drop_columns([drop])
            store.commit(part, PackResult(table, result.curves, result.predictions))
        rows = store.trials()
    assert rows["hp_alpha"].isna().sum() == rows["hp_beta"].isna().sum() == len(rows) / 2


def test_requests_come_back_as_they_were(resolve: Resolve, tmp_path: Path) -> None:
    resolved = resolve(Row("toy", ({"alpha": 0.5}, {"fault": "none", "width": 3})), Row("other", floor=True))
    assert requests.from_json(Resolved, requests.to_json(resolved)) == resolved
    store = Store(str(tmp_path), "trial_study")
    with store.locked():
        store.save_request(resolved)
    again = Store.at(str(tmp_path / "trial_study"))
    assert again.requests() == ["tiny"]
    assert again.load_request("tiny") == resolved
    with pytest.raises(UserError, match="no results with corpus other; there is tiny"):
        again.load_request("other")
    with pytest.raises(UserError, match="no results here"):
        Store.at(str(tmp_path))


def test_memberships_remember_splits(resolve: Resolve, tmp_path: Path) -> None:
    pack = Pack(plan(resolve(Row("toy"), seeds=5), NO_ROWS).trials, 10.0)
    halves = pack.split(2)
    assert [len(half.trials) for half in halves] == [3, 2]
    assert sum(half.seconds for half in halves) == pytest.approx(10)
    store = Store(str(tmp_path), "trial_study")
    with store.locked():
        store.fix([pack])
        assert [m.id for m in store.memberships()] == [pack.id]
        store.fix(halves)
        assert [m.id for m in store.memberships()] == [half.id for half in halves]
        entry = json.loads(
            sorted((store.folder / "packs").iterdir(), key=lambda p: p.stat().st_mtime_ns)[-1].read_text()
        )
        assert {part["split_of"] for part in entry["packs"]} == {pack.id}


def test_packs_are_cut_evenly(resolve: Resolve) -> None:
    trials: tuple[Trial, ...] = plan(resolve(Row("toy"), seeds=10), NO_ROWS).trials
    parts = cut(trials, 4)
    assert [len(p) for p in parts] == [3, 3, 2, 2]
    assert tuple(t for part in parts for t in part) == trials
    assert len({pack_id(t.id for t in part) for part in parts}) == 4


def test_the_index_saves_opening_files_and_hides_nothing(
    resolve: Resolve, place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "WORTH", 1)
    resolved = resolve(Row("toy"), Row("other"), seeds=8)
    go(resolved, tmp_path, place)
    store = Store(str(tmp_path), "trial_study")
    opened: list[int] = []
    read = store._read

    def counting(table: str, names: list[str], columns: object) -> pd.DataFrame:
        opened.append(len(names))
        return read(table, names, columns)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "_read", counting)
    keys = ["trial", "partition", "target"]

    def same() -> bool:
        whole = read("trials", files.names(store.folder / "trials", ".parquet"), index.COLUMNS)
        a, b = (
            f.astype(dict.fromkeys(keys, "str")).sort_values(keys, ignore_index=True) for f in (store.rows(), whole)
        )
        return len(a) == len(b) and (a[[*keys, "value", "seed"]] == b[[*keys, "value", "seed"]]).all(axis=None)

    assert same()
    assert opened == [0]
    lost, touched = sorted((store.folder / "trials").iterdir())[:2]
    lost.unlink()
    os.utime(touched)
    assert same()
    assert opened == [0, 1]
    (store.folder / index.NAME).write_bytes(b"junk")
    assert same()
    go(resolved, tmp_path, place)
    assert len(store.rows()) == 16 * 9
