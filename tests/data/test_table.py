"""`affect prepare table`: anyone's arrays, exact values, and one sentence for whatever is wrong."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from affect.data.corpus import Corpus
from affect.data.formats import tabular
from affect.data.formats.tabular import open_table
from affect.data.readers import table
from affect.errors import UserError

ROWS = 8
Prepare = Callable[..., Corpus]


def clips() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "clip": [f"{i:03d}" for i in range(ROWS)],
            "who": list("aabbccdd"),
            "split": ["Train"] * 4 + ["dev"] * 2 + ["Test1"] * 2,
            "act": [1.0, 2.25, 3.5, math.nan, 5.0, 6.0, 7.0, 4.0],
            "words": ["NA", "null", "", "a,b", 'say "hm"', "x\ny", "é", "None"],
            "f_0": np.arange(ROWS) / 7,
            "f_1": -np.arange(ROWS) * 1e10,
        }
    )


def run(folder: Path, *options: str, samples: str = "clips.csv", view: str = "hld=columns:f_*") -> Corpus:
    parser = argparse.ArgumentParser()
    table.add_arguments(parser)
    parser.add_argument("--overwrite", action="store_true")
    base = ["--samples", str(folder / samples), "--id", "clip", "--partition", "split", "--out", str(folder / "out")]
    last = ["--target", "arousal=act:1:7"] if "--target" not in options else []
    return table.prepare(parser.parse_args([*base, *last, "--view", view, *options]))


@pytest.fixture
def prepare(tmp_path: Path) -> Prepare:
    """Write `clips` (a frame) as clips.csv and prepare it."""

    def call(frame: pd.DataFrame, *options: str, **where: str) -> Corpus:
        frame.to_csv(tmp_path / "clips.csv", index=False)
        return run(tmp_path, *options, **where)

    return call


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
def test_every_kind_of_table_keeps_every_value(tmp_path, kind):
    frame = clips()
    if kind == "parquet":
        frame.to_parquet(tmp_path / "clips.parquet")
    else:
        frame.to_csv(tmp_path / f"clips.{kind}", sep="," if kind == "csv" else "\t", index=False)
    corpus = run(
        tmp_path, "--group", "who", "--subject", "who", "--text", "words", "--licence", "mine", samples=f"clips.{kind}"
    )
    samples = corpus.samples
    assert samples["id"].tolist() == frame["clip"].tolist()
    assert samples["text"].tolist() == frame["words"].tolist()
    assert samples["group"].tolist() == samples["subject"].tolist() == frame["who"].tolist()
    assert samples["partition"].tolist() == ["train"] * 4 + ["development"] * 2 + ["test"] * 2
    np.testing.assert_array_equal(samples["arousal"], frame["act"])
    np.testing.assert_array_equal(corpus.view("hld"), frame[["f_0", "f_1"]].to_numpy(np.float32))
    assert corpus.manifest.name == "out"
    assert corpus.manifest.licence == "mine"
    assert corpus.facts("leak_free").groups == "speaker"


def test_views_from_files(prepare, tmp_path):
    frame = clips()
    lld = np.random.default_rng(0).standard_normal((ROWS, 5, 3))
    np.save(tmp_path / "lld.npy", lld)
    shuffled = frame[["f_1", "clip", "f_0"]].sample(frac=1, random_state=1)
    shuffled.to_csv(tmp_path / "by_id.csv", index=False)
    frame[["f_0"]].to_parquet(tmp_path / "in_order.parquet")
    corpus = prepare(
        frame,
        "--view",
        f"lld={tmp_path / 'lld.npy'}",
        f"by_id={tmp_path / 'by_id.csv'}",
        f"in_order={tmp_path / 'in_order.parquet'}",
        view="one=columns:f_1,nothing*",
    )
    assert corpus.manifest.views["lld"].features == "columns of lld.npy"
    np.testing.assert_array_equal(corpus.view("lld"), lld.astype(np.float32))
    np.testing.assert_array_equal(corpus.view("by_id"), frame[["f_1", "f_0"]].to_numpy(np.float32))
    np.testing.assert_array_equal(corpus.view("in_order"), frame[["f_0"]].to_numpy(np.float32))
    np.testing.assert_array_equal(corpus.view("one"), frame[["f_1"]].to_numpy(np.float32))
    named = prepare(frame, "--feature-set", "my set 2", "--overwrite")
    assert {info.features for info in named.manifest.views.values()} == {"my set 2"}


def test_rows_in_another_order_are_not_held(prepare, tmp_path, monkeypatch):
    """Blocks as they are read, and as they are handed on, are all that is in memory."""
    frame = clips()
    frame[["clip", "f_0", "f_1"]][::-1].to_parquet(tmp_path / "x.parquet")
    monkeypatch.setattr(tabular, "BLOCK_ROWS", 2)
    monkeypatch.setattr(table, "BLOCK_ROWS", 3)
    sizes = []
    write = table.write_corpus

    def watched(*given, views, **named):
        sizes.extend(len(block) for block in views["x"].blocks())
        return write(*given, views=views, **named)

    monkeypatch.setattr(table, "write_corpus", watched)
    corpus = prepare(frame, "--view", f"x={tmp_path / 'x.parquet'}")
    np.testing.assert_array_equal(corpus.view("x"), frame[["f_0", "f_1"]].to_numpy(np.float32))
    assert sizes == [3, 3, 2]


def test_protocols_follow_from_the_groups(prepare):
    frame = clips()
    assert list(prepare(frame).manifest.protocols) == ["as_published"]
    assert list(prepare(frame, "--group", "who", "--overwrite").manifest.protocols) == ["as_published", "leak_free"]
    frame.loc[7, "who"] = "a"
    straddling = prepare(frame, "--group", "who", "--group-kind", "recording", "--overwrite")
    assert "1 of 4 groups (recording)" in straddling.facts("as_published").findings[0]
    with pytest.raises(UserError, match="column partition: recording 'a' lies in train and test"):
        straddling.facts("leak_free")
    frame["talk"] = [*"abcdefg", "a"]
    talks = prepare(frame, "--recording", "talk", "--overwrite")
    assert talks.facts("as_published").kinds == ("groups_unknown", "recordings_straddle")
    frame["clean"] = ["train"] * 3 + ["test", "development", "development", "train", "train"]
    frame.loc[3, ["who", "act"]] = ["z", 2.0]
    both = prepare(frame, "--group", "who", "--partition-leak-free", "clean", "--overwrite")
    assert both.facts("leak_free").rows == {"train": 5, "development": 2, "test": 1, "unlabelled": 0}


@pytest.mark.parametrize("blank", [range(8), range(6, 8), [2]])
def test_scored_rows_without_a_group_rule_leak_free_out(prepare, blank):
    """A blank cell may hide a speaker who is in another partition as well."""
    frame = clips()
    frame.loc[list(blank), "who"] = ""
    corpus = prepare(frame, "--group", "who")
    assert list(corpus.manifest.protocols) == ["as_published"]
    facts = corpus.facts("as_published")
    assert facts.kinds == ("groups_unknown",)
    row, partition = f"00{blank[0]}", {0: "train", 2: "train", 6: "test"}[blank[0]]
    assert facts.findings[0] == (
        f"{len(blank)} of 8 scored rows have no group (speaker), the first of them {row}, so protocol leak_free is not "
        "offered."
    )
    with pytest.raises(UserError, match=f"column group, row {row} of {partition}: the speaker is missing"):
        corpus.facts("leak_free")
    with pytest.raises(UserError, match=f"clips.csv: column who, row {row} of {partition}: the speaker is missing"):
        prepare(frame, "--group", "who", "--partition-leak-free", "split", "--overwrite")


def test_leak_free_is_offered_by_a_partition_that_leaves_rows_without_a_group_out(prepare):
    frame = clips()
    frame.loc[2, "who"] = ""
    frame["clean"] = frame["split"].where(frame["who"] != "", "unlabelled")
    corpus = prepare(frame, "--group", "who", "--partition-leak-free", "clean")
    assert corpus.facts("as_published").findings[0] == (
        "1 of 8 scored rows have no group (speaker), the first of them 002."
    )
    assert not corpus.facts("leak_free").kinds


def test_blanks_around_a_name_make_no_other_speaker(prepare):
    frame = clips()
    frame.loc[7, "who"] = f" {frame.loc[0, 'who']} "
    corpus = prepare(frame, "--group", "who")
    assert list(corpus.manifest.protocols) == ["as_published"]
    assert corpus.facts("as_published").kinds == ("groups_straddle",)
    with pytest.raises(UserError, match="lies in train and test"):
        prepare(frame, "--group", "who", "--partition-leak-free", "split", "--overwrite")


def test_unlabelled_rows_need_no_group(prepare):
    frame = clips()
    frame.loc[3, ["who", "split"]] = ["", "unlabelled"]
    corpus = prepare(frame, "--group", "who")
    assert not corpus.facts("leak_free").kinds


BAD_CELLS = {
    "twice": (4, "clip", "001", "clips.csv: column clip: id 001 occurs in rows 2 and 5."),
    "no id": (4, "clip", "", "clips.csv: column clip, row 5: the id is missing."),
    "label scale": (4, "act", 7.5, "clips.csv: column act, row 004: label 7.5 lies outside its scale 1..7."),
    "label word": (4, "act", "high", "clips.csv: column act, row 004: 'high' is not a number."),
    "partition": (4, "split", "tset", "clips.csv: column split, row 004: unknown partition 'tset'"),
    "no partition": (4, "split", "", "clips.csv: column split, row 004: unknown partition ''"),
    "feature word": (4, "f_1", "loud", "clips.csv: column f_1, row 004: 'loud' is not a number."),
    "feature empty": (4, "f_1", "", "clips.csv: view hld, row 004, column f_1: the feature is nan, not finite."),
    "feature nan": (4, "f_1", "nan", "clips.csv: view hld, row 004, column f_1: the feature is nan, not finite."),
    "feature inf": (4, "f_1", "-inf", "clips.csv: view hld, row 004, column f_1: the feature is -inf, not finite."),
    "feature huge": (4, "f_1", "1e99", "clips.csv: view hld, row 004, column f_1: the feature is inf, not finite."),
}


@pytest.mark.parametrize("case", BAD_CELLS)
def test_bad_cells(prepare, tmp_path, case):
    row, column, value, sentence = BAD_CELLS[case]
    frame = clips().astype(object)
    frame.loc[row, column] = value
    with pytest.raises(UserError, match=re.escape(sentence)):
        prepare(frame)
    assert [path.name for path in tmp_path.iterdir()] == ["clips.csv"]


BAD_OPTIONS = {
    "column": (["--group", "speaker"], "clips.csv: column speaker is missing; it has clip, who, split"),
    "target column": (["--target", "arousal=nope:1:7"], "clips.csv: column nope is missing"),
    "target form": (["--target", "arousal=act"], "--target arousal=act: expected NAME=COL:LOW:HIGH"),
    "target scale": (["--target", "arousal=act:7:1"], "--target arousal=act:7:1: the scale 7..1 is empty."),
    "target infinite": (["--target", "arousal=act:1:inf"], "the scale 1..inf is empty"),
    "target name": (["--target", "group=act:1:7"], "--target group: this name is taken"),
    "target twice": (["--target", "a=act:1:7", "b=act:1:7", "a=act:0:9"], "--target a=...: a is given twice."),
    "view twice": (["--view", "hld=columns:f_0"], "--view hld=...: hld is given twice."),
    "view form": (["--view", "hld"], "--view hld: expected NAME=SOURCE"),
    "view pattern": (["--view", "x=columns:g_*"], "clips.csv: view x: no column matches g_*"),
    "view of labels": (["--view", "x=columns:act"], "clips.csv: view x: column act is the arousal, not a feature."),
    "view file": (["--view", "x=nowhere.npy"], "nowhere.npy: there is no such file."),
    "view kind": (["--view", "x=a.mat"], "a.mat: the name must end in .csv, .tsv or .parquet."),
    "leak free": (["--partition-leak-free", "split"], "groups are unknown, so protocol leak_free cannot be offered"),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_options(prepare, tmp_path, case):
    options, sentence = BAD_OPTIONS[case]
    with pytest.raises(UserError, match=re.escape(sentence)):
        prepare(clips(), *options)
    assert [path.name for path in tmp_path.iterdir()] == ["clips.csv"]


def test_declared_leak_free_partition_that_leaks(prepare):
    frame = clips().assign(clean=["train", "test", "train", "train", "dev", "dev", "test", "test"])
    with pytest.raises(UserError, match=r"clips\.csv: column clean: speaker 'a' lies in train and test"):
        prepare(frame, "--group", "who", "--partition-leak-free", "clean")


def test_bad_view_files(prepare, tmp_path):
    np.save(tmp_path / "short.npy", np.zeros((ROWS - 1, 2)))
    np.save(tmp_path / "words.npy", np.array(["a"] * ROWS))
    np.save(tmp_path / "objects.npy", np.array([{}] * ROWS, object), allow_pickle=True)
    np.save(tmp_path / "scalar.npy", np.float32(3))
    np.savez(tmp_path / "many.npz", a=np.zeros(3))
    (tmp_path / "many.npz").rename(tmp_path / "many.npy")
    (tmp_path / "cut.npy").write_bytes((tmp_path / "short.npy").read_bytes()[:-8])
    (tmp_path / "noise.npy").write_bytes(b"hello")
    frame = clips()
    frame[["clip", "f_0"]][:-1].to_csv(tmp_path / "fewer.csv", index=False)
    frame[["f_0"]][:-1].to_csv(tmp_path / "fewer_no_id.csv", index=False)
    pd.concat([frame, frame[:1].assign(clip="extra")])[["clip", "f_0"]].to_csv(tmp_path / "more.csv", index=False)
    frame[["clip"]].to_csv(tmp_path / "none.csv", index=False)
    frame.assign(f_0=[[1]] * ROWS)[["clip", "f_0"]].to_parquet(tmp_path / "lists.parquet")
    for file, sentence in {
        "short.npy": "view x has 7 rows but",
        "words.npy": "not real numbers",
        "objects.npy": "not a readable .npy file",
        "scalar.npy": "holds a single number",
        "many.npy": "an .npz archive",
        "cut.npy": "not a readable .npy file",
        "noise.npy": "not a readable .npy file",
        "fewer.csv": "row 007 of the sample table is missing",
        "fewer_no_id.csv": "view x has 7 rows but",
        "more.csv": "row extra is not in the sample table",
        "none.csv": "view x has no column of features",
        "lists.parquet": "column f_0, row 000: [1] is not a number.",
    }.items():
        with pytest.raises(UserError, match=re.escape(sentence)) as error:
            prepare(frame, "--view", f"x={tmp_path / file}")
        assert file in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "cannot be read as a table"),
        ("clip,split,act,clip\n1,train,3,4\n", "column 'clip' occurs twice"),
        ("clip,split,act,f_0\n1,train,3\n", "cannot be read as a table"),
        ("clip,split,act,f_0\n1,train,3,4,5\n", "cannot be read as a table"),
        ("clip,split,act,f_0\n", "partition train is empty"),
        ("clip;split;act;f_0\n", "column clip is missing"),
    ],
)
def test_malformed_csv(tmp_path, text, sentence):
    (tmp_path / "clips.csv").write_text(text)
    with pytest.raises(UserError, match=re.escape(sentence)):
        run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["clips.csv"]


def test_files_that_are_no_tables(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"clip,split\n\xff\xfe,train\n")
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UserError, match=r"a\.csv: cannot be read"):
        open_table(tmp_path / "a.csv").strings(["clip"])
    for name in ("a.parquet", "folder.csv"):
        with pytest.raises(UserError, match="cannot be read as a table"):
            open_table(tmp_path / name)
    with pytest.raises(UserError, match="no such file"):
        open_table(tmp_path / "b.csv")


CELL = st.one_of(
    st.sampled_from(["train", "dev", "test", "1", "3.5", "", "nan", "1e999", '"', ",", "\n", "\r", "\x00", "é", "-0"]),
    st.text(max_size=4),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    header=st.sampled_from(
        ["clip,split,act,f_0", "clip,split,act,f_0,f_0", "clip,split,f_0", "\ufeffclip,split,act,f_0"]
    ),
    cells=st.lists(st.lists(CELL, min_size=3, max_size=5), max_size=6),
    good=st.booleans(),
    end=st.sampled_from(["\n", "\r\n", ""]),
)
def test_any_table_is_prepared_or_refused(tmp_path_factory, header, cells, good, end):
    folder = tmp_path_factory.mktemp("any")
    lines = [header, *(",".join(row) for row in cells)]
    if good:
        lines[1:1] = ["a,train,2,1.5", "b,validation,3,2", "c,Test,4,-1"]
    (folder / "clips.csv").write_text(end.join(lines), encoding="utf-8", errors="surrogatepass", newline="")
    try:
        corpus = run(folder)
    except UserError:
        assert [path.name for path in folder.iterdir()] == ["clips.csv"]
    else:
        assert np.isfinite(corpus.view("hld")).all()
        assert set(corpus.facts("as_published").rows) == {"train", "development", "test", "unlabelled"}
