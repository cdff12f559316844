"""What a crash, a second run or a damaged disk can do to a results folder, on every kind of file system."""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from affect.engine import index, requests
from affect.engine.executors import Inline
from affect.engine.files import LocalFolder, make_folder
from affect.engine.packs import Pack, cut, pack_id
from affect.engine.plan import plan
from affect.engine.results import PackResult, Workplace
from affect.engine.run import run
from affect.engine.store import TABLES, Store
from affect.engine.work import run_pack
from affect.errors import UserError
from affect.files import TEMPORARY
from affect.resolved import Resolved, SearchRecord
from affect.study import Row
from affect.trial import Trial
from tests.engine.helpers import NO_ROWS, Results, Silent, another_run

Resolve = Callable[..., Resolved]


@pytest.fixture
def fitted(resolve: Resolve, place: Workplace) -> tuple[Pack, PackResult]:
    pack = Pack(plan(resolve(Row("toy")), NO_ROWS).trials)
    return pack, run_pack(pack, place)


def go(resolved: Resolved, results: Results, place: Workplace, warn: Callable[[str], None] = print) -> None:
    store = Store(results.uri, "trial_study", warn)
    with store.locked():
        run(resolved, store, Inline(), place, Silent())


@pytest.mark.parametrize("written", range(len(TABLES)))
def test_a_pack_counts_only_when_its_last_file_is_there(
    fitted: tuple[Pack, PackResult], results: Results, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    store = Store(results.uri, "trial_study")
    # What makes a file visible: by then it is whole.
    owner, name = (os, "replace") if results.uri.startswith("/") else (results.filesystem, "pipe_file")
    show, calls = getattr(owner, name), []

    def die(source: object, goal: object) -> None:
        calls.append(goal)
        if len(calls) > written:
            raise SystemExit("killed")
        show(source, goal)

    with store.locked():
        monkeypatch.setattr(owner, name, die)
        with pytest.raises(SystemExit):
            store.commit(*fitted)
        monkeypatch.setattr(owner, name, show)
        assert len(calls) == written + 1
        assert store.trials().empty
        store.commit(*fitted)
        assert set(store.trials()["trial"]) == {t.id for t in fitted[0].trials}


def test_what_an_interrupted_writer_left_is_removed(tmp_path: Path) -> None:
    store = Store(str(tmp_path), "trial_study")
    with store.locked():
        left = tmp_path / "trial_study" / "trials" / f"{TEMPORARY}1-x.parquet"
        left.write_bytes(b"PAR1 half")
        assert store.trials().empty
    with store.locked():
        assert not left.exists()


def test_one_run_at_a_time_and_a_killed_one_lets_go(results: Results, short_lease: None) -> None:
    with another_run(results.uri, "trial_study") as holder:
        with pytest.raises(UserError, match="in use by another run"), Store(results.uri, "trial_study").locked():
            pass
        holder.kill()
        holder.wait()
        with Store(results.uri, "trial_study").locked():
            pass


def test_who_looks_whether_a_folder_is_in_use_stops_no_run(tmp_path: Path) -> None:
    store = Store(str(tmp_path), "trial_study")
    with store.locked():
        pass
    look = FileLock(tmp_path / "trial_study" / ".lock", thread_local=False)
    look.acquire()
    threading.Timer(0.2, look.release).start()
    with store.locked():
        assert store.in_use()


def test_folders_of_other_studies_are_refused(results: Results) -> None:
    with Store(results.uri, "one").locked():
        pass
    results.write("two/study.json", results.read("one/study.json"))
    with pytest.raises(UserError, match=r"two/study.json: these are results of study one, not of two"):
        Store(results.uri, "two")
    with pytest.raises(UserError, match="give the folder that it lies in"):
        Store(f"{results.uri}/two", "one")
    results.write("three/thesis.doc", b"")
    with pytest.raises(UserError, match="is not a results folder"):
        Store(results.uri, "three")
    results.write("two/study.json", b'{"study": "two", "schema": 99}')
    with pytest.raises(UserError, match="newer"):
        Store(results.uri, "two")


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
@pytest.mark.parametrize("table", TABLES)
def test_damaged_files_are_set_aside_and_their_trials_run_again(
    resolve: Resolve, place: Workplace, results: Results, table: str, damage: str
) -> None:
    if damage == "flipped" and table != "trials":
        pytest.skip("contents of other tables are checked when they are read")
    resolved = resolve(Row("toy"), Row("other"))
    go(resolved, results, place)
    before = Store(results.uri, "trial_study").trials()
    name = results.names(f"trial_study/{table}")[0]
    content = bytearray(results.read(f"trial_study/{table}/{name}"))
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "empty":
        content = bytearray()
    else:
        for i in range(100, 140):
            content[i] ^= 255
    results.write(f"trial_study/{table}/{name}", bytes(content))
    sentences: list[str] = []
    go(resolved, results, place, sentences.append)
    assert len(sentences) == 1
    assert f"{results.uri}/trial_study/{table}/{name}: cannot be read; moved to" in sentences[0]
    after = Store(results.uri, "trial_study").trials()
    assert len(after) == len(before)
    assert set(after["trial"]) == set(before["trial"])
    assert results.read(f"trial_study/quarantine/{table}/{name}") == bytes(content)


@pytest.mark.parametrize("table", ["curves", "predictions"])
def test_a_crash_amid_quarantine_leaves_no_pack_without_its_files(
    fitted: tuple[Pack, PackResult], results: Results, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    store = Store(results.uri, "trial_study")
    with store.locked():
        store.commit(*fitted)
    (name,) = results.names(f"trial_study/{table}")
    results.write(f"trial_study/{table}/{name}", b"junk")
    folder, move = type(store.folder), type(store.folder).move

    def die(*given: object) -> None:
        monkeypatch.setattr(folder, "move", lambda *_: pytest.fail("dead"))
        move(*given)
        raise SystemExit("killed")

    monkeypatch.setattr(folder, "move", die)
    with pytest.raises(SystemExit), Store(results.uri, "trial_study").locked():
        pass
    monkeypatch.setattr(folder, "move", move)
    assert Store(results.uri, "trial_study").trials().empty


def test_readers_leave_damaged_files_where_they_are(fitted: tuple[Pack, PackResult], results: Results) -> None:
    sentences: list[str] = []
    store = Store(results.uri, "trial_study", sentences.append)
    with store.locked():
        store.commit(*fitted)
    (name,) = results.names("trial_study/trials")
    results.write(f"trial_study/trials/{name}", b"junk")
    assert store.trials().empty
    assert results.names("trial_study/trials") == [name]
    assert len(sentences) == 1


def test_columns_of_all_systems_are_there(fitted: tuple[Pack, PackResult], results: Results) -> None:
    pack, result = fitted
    store = Store(results.uri, "trial_study")
    with store.locked():
        for part, drop in zip(pack.split(2), ("hp_alpha", "hp_beta"), strict=True):
            ids = [t.id for t in part.trials]
            kept = [row for row in result.trials.to_pylist() if row["trial"] in ids]
            table = result.trials.from_pylist(kept, schema=result.trials.schema).drop_columns([drop])
            store.commit(part, PackResult(table, result.curves, result.predictions))
        rows = store.trials()
    assert rows["hp_alpha"].isna().sum() == rows["hp_beta"].isna().sum() == len(rows) / 2


def test_searches_come_back_as_they_were(resolve: Resolve, results: Results) -> None:
    resolved = resolve(Row("toy", ({"alpha": 0.5},), label="toy, hand-set"))
    record = SearchRecord(
        "a", "tiny", "toy", 0.1, 2, (3, 6), 3, refits=resolved, importances={"alpha": 1.0}, winner="toy"
    )
    history = pd.DataFrame({"number": [0, 1], "status": ["complete", "stopped"], "value": [0.5, 0.2]})
    store = Store(results.uri, "trial_study")
    with store.locked():
        store.save_search(replace(record, winner=None), history[:1])
        store.save_search(record, history)
    ((found, frame),) = Store(results.uri, "trial_study").searches().values()
    assert found == record
    pd.testing.assert_frame_equal(frame, history)


@pytest.mark.parametrize("column", ["source_hash", "findings", "view", "missing"])
def test_files_older_than_a_column_have_nulls_there(
    fitted: tuple[Pack, PackResult], tmp_path: Path, column: str
) -> None:
    pack, result = fitted
    store = Store(str(tmp_path), "trial_study")
    old, new = pack.split(2)
    with store.locked():
        for part, dropped in ((old, [column]), (new, [])):
            ids = [t.id for t in part.trials]
            kept = [row for row in result.trials.to_pylist() if row["trial"] in ids]
            table = result.trials.from_pylist(kept, schema=result.trials.schema).drop_columns(dropped)
            store.commit(part, PackResult(table, result.curves, result.predictions))
        rows = store.trials().groupby("trial", observed=True)[column].agg(lambda found: found.notna().all())
    assert {trial.id: rows[trial.id] for trial in pack.trials} == {
        **{trial.id: False for trial in old.trials},
        **{trial.id: True for trial in new.trials},
    }


def test_feature_sets_do_not_meet_in_one_study(resolve: Resolve, results: Results) -> None:
    here = replace(resolve(Row("toy")).corpus, synthetic=False, name="here", view="hld", width=6, features="IS13")
    store = Store(results.uri, "trial_study")
    with store.locked():
        store.save_request(replace(resolve(Row("toy")), corpus=here))
    store = Store(results.uri, "trial_study")
    there = replace(here, name="there", features="ComParE_2016")
    with pytest.raises(UserError, match=r"--corpus there: its view hld holds ComParE_2016, but that of here, .* IS13;"):
        store.refuse_mixture(there)
    with pytest.raises(UserError, match="feature sets must not be mixed"):
        store.refuse_mixture(replace(there, width=7))
    with pytest.raises(UserError, match=r"--corpus here: .* ComParE_2016, but that of an earlier here, .* holds IS13;"):
        store.refuse_mixture(replace(there, name="here"))
    for alike in ({"features": "IS13"}, {"view": "lld"}, {"synthetic": True}):
        store.refuse_mixture(replace(there, **alike))


def test_a_study_remembers_the_feature_sets_of_all_its_runs(resolve: Resolve, results: Results) -> None:
    """The request holds the last run alone, which may have been on another view."""
    resolved = resolve(Row("toy"))
    here = replace(resolved.corpus, synthetic=False, name="here", view="hld", features="IS13")
    store = Store(results.uri, "trial_study")
    with store.locked():
        store.save_request(replace(resolved, corpus=here))
        store.save_request(replace(resolved, corpus=replace(here, view="lld", features="IS13 LLDs")))
    store = Store(results.uri, "trial_study")
    assert store.load_request("here").corpus.view == "lld"
    for name in ("here", "there"):
        with pytest.raises(UserError, match=r"view hld holds ComParE_2016, but .* holds IS13;"):
            store.refuse_mixture(replace(here, name=name, features="ComParE_2016"))
        store.refuse_mixture(replace(here, name=name))


def test_requests_of_older_versions_mix_with_anything(resolve: Resolve, tmp_path: Path) -> None:
    resolved = resolve(Row("toy"))
    old = replace(resolved, corpus=replace(resolved.corpus, synthetic=False))
    store = Store(str(tmp_path), "trial_study")
    with store.locked():
        store.save_request(old)
    file = tmp_path / "trial_study" / "requests" / "tiny.json"
    content = json.loads(file.read_text())
    del content["corpus"]["features"], content["feature_sets"]
    file.write_text(json.dumps(content))
    assert store.load_request("tiny").corpus.features == ""
    store.refuse_mixture(replace(old.corpus, name="new"))


@pytest.mark.parametrize("damage", ["half", "list", "older"])
def test_a_request_that_cannot_be_read_stops_no_run(resolve: Resolve, results: Results, damage: str) -> None:
    """It is replaced by the next run with its corpus, and keeps from mixing what it still tells of."""
    resolved = resolve(Row("toy"))
    real = replace(resolved, corpus=replace(resolved.corpus, synthetic=False, view="hld", features="IS13"))
    with Store(results.uri, "trial_study").locked() as store:
        store.save_request(real)
    name = "trial_study/requests/tiny.json"
    content = results.read(name)
    older = {**json.loads(content), "study": "of another kind"}
    damaged = {"half": content[: len(content) // 2], "list": b"[]", "older": json.dumps(older).encode()}[damage]
    results.write(name, damaged)
    sentences: list[str] = []
    store = Store(results.uri, "trial_study", sentences.append)
    with pytest.raises(UserError, match=r"tiny.json: cannot be read \(.*\); run the study again"):
        store.load_request("tiny")
    other = replace(real.corpus, name="other", features="ComParE_2016")
    if damage == "older":
        with pytest.raises(UserError, match="feature sets must not be mixed"):
            store.refuse_mixture(other)
    else:
        store.refuse_mixture(other)
    with store.locked():
        store.save_request(real)
    assert Store(results.uri, "trial_study").load_request("tiny") == real
    if damage != "older":
        assert ["is left out" in sentence for sentence in sentences] == [True, False]
        assert sentences[1].endswith("/trial_study/quarantine.")
        assert results.read("trial_study/quarantine/requests/tiny.json") == damaged


def test_each_protocol_has_a_request(resolve: Resolve, tmp_path: Path) -> None:
    usual = resolve(Row("toy"))
    other = replace(usual, protocol="leak_free", seeds=1)
    store = Store(str(tmp_path), "trial_study")
    folder = tmp_path / "trial_study" / "requests"
    with store.locked():
        store.save_request(other)
        os.replace(folder / "tiny+leak_free.json", folder / "tiny.json")  # as earlier versions called it
        assert store.load_request("tiny") == other
        store.save_request(other)
        assert store.requested() == {"tiny+leak_free": "tiny"}
        store.save_request(usual)
    assert store.requested() == {"tiny": "tiny", "tiny+leak_free": "tiny"}
    assert store.load_request("tiny") == usual
    assert store.load_request("tiny+leak_free") == other


def test_requests_come_back_as_they_were(resolve: Resolve, results: Results) -> None:
    resolved = resolve(Row("toy", ({"alpha": 0.5}, {"fault": "none", "width": 3})), Row("other", floor=True))
    assert requests.from_json(Resolved, requests.to_json(resolved)) == resolved
    store = Store(results.uri, "trial_study")
    with store.locked():
        store.save_request(resolved)
    again = Store.at(f"{results.uri}/trial_study")
    assert again.requests() == ["tiny"]
    assert again.load_request("tiny") == resolved
    with pytest.raises(UserError, match="no results with corpus other; there is tiny"):
        again.load_request("other")
    with pytest.raises(UserError, match="no results here"):
        Store.at(results.uri)


def test_memberships_remember_splits(resolve: Resolve, results: Results) -> None:
    pack = Pack(plan(resolve(Row("toy"), seeds=5), NO_ROWS).trials, 10.0)
    halves = pack.split(2)
    assert [len(half.trials) for half in halves] == [3, 2]
    assert sum(half.seconds for half in halves) == pytest.approx(10)
    store = Store(results.uri, "trial_study")
    with store.locked():
        store.fix([pack])
        assert [m.id for m in store.memberships()] == [pack.id]
        store.fix(halves)
        assert [m.id for m in store.memberships()] == [half.id for half in halves]
        stored = [json.loads(content) for content in results.contents("trial_study/packs").values()]
        last = max(stored, key=lambda entry: entry["planned"])
        assert {part["split_of"] for part in last["packs"]} == {pack.id}


def test_packs_are_cut_evenly(resolve: Resolve) -> None:
    trials: tuple[Trial, ...] = plan(resolve(Row("toy"), seeds=10), NO_ROWS).trials
    parts = cut(trials, 4)
    assert [len(p) for p in parts] == [3, 3, 2, 2]
    assert tuple(t for part in parts for t in part) == trials
    assert len({pack_id(t.id for t in part) for part in parts}) == 4


def test_the_index_saves_opening_files_and_hides_nothing(
    resolve: Resolve, place: Workplace, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "WORTH", 1)
    resolved = resolve(Row("toy"), Row("other"), seeds=8)
    go(resolved, results, place)
    store = Store(results.uri, "trial_study")
    opened: list[int] = []
    read = store._read

    def counting(table: str, names: list[str], columns: object) -> pd.DataFrame:
        opened.append(len(names))
        return read(table, names, columns)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "_read", counting)
    keys = ["trial", "partition", "target"]

    def same() -> bool:
        names = [name.removesuffix(".parquet") for name in results.names("trial_study/trials")]
        whole = read("trials", names, index.COLUMNS)
        a, b = (
            f.astype(dict.fromkeys(keys, "str")).sort_values(keys, ignore_index=True) for f in (store.rows(), whole)
        )
        return len(a) == len(b) and (a[[*keys, "value", "seed"]] == b[[*keys, "value", "seed"]]).all(axis=None)

    assert same()
    assert opened == [0]
    lost, changed = (f"trial_study/trials/{name}" for name in results.names("trial_study/trials")[:2])
    results.remove(lost)
    otherwise = io.BytesIO()
    pq.write_table(pq.read_table(io.BytesIO(results.read(changed))), otherwise, compression="none")
    results.write(changed, otherwise.getvalue())
    assert same()
    assert opened == [0, 1]
    results.write("trial_study/.index.parquet", b"junk")
    assert same()
    go(resolved, results, place)
    assert len(store.rows()) == 16 * 9


def test_who_names_no_study_is_sent_where_studies_lie(resolve: Resolve, place: Workplace, results: Results) -> None:
    go(resolve(Row("toy")), results, place)
    for wrong in (results.uri, f"{results.uri}/nope"):
        with pytest.raises(UserError, match=f"^{wrong}: no results here .* `affect results list {results.uri}` names"):
            Store.at(wrong)


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone/one.json: cannot be written \(No such file or directory\)\.$"):
        LocalFolder(tmp_path / "gone").write("one.json", b"{}")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/reports: cannot be written \(Not a directory\)\.$"):
        make_folder(tmp_path / "file" / "reports")


def test_files_of_an_older_version_lack_columns(resolve: Resolve, place: Workplace, results: Results) -> None:
    go(resolve(Row("toy"), seeds=2), results, place)
    for name in results.names("trial_study/trials"):
        older = io.BytesIO()
        table = pq.read_table(io.BytesIO(results.read(f"trial_study/trials/{name}")))
        pq.write_table(table.drop_columns(["search", "suggestion", "findings"]), older)
        results.write(f"trial_study/trials/{name}", older.getvalue())
    store = Store(results.uri, "trial_study")
    assert store.trials()["search"].isna().all()
    assert len(store.trials()) == len(store.rows())
