"""Precomputed features: attached from files and tables in every form, exact, and refused in one sentence."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from affect.data.features import options, precomputed
from affect.data.features.audio import STEPS
from affect.data.features.options import attach, known_ids
from affect.data.features.sources import padded
from affect.errors import UserError
from tests.data.feature_files import (
    CLIPS,
    FRAMES,
    NAMES,
    SET,
    TABLES,
    VECTORS,
    arff,
    attached,
    beside_npy,
    frame_of,
    inside_npz,
    no_wavs,
    parsed,
    smile_csv,
    values,
)


@pytest.mark.parametrize("suffix", [*CLIPS, "smile"])
@pytest.mark.parametrize("framed", [False, True])
def test_a_file_per_clip(tmp_path, suffix, framed):
    folder = tmp_path / "features"
    folder.mkdir()
    save = smile_csv if suffix == "smile" else CLIPS[suffix]
    given_rows = FRAMES if framed else dict(zip(NAMES, VECTORS, strict=True))
    for name, x in given_rows.items():
        save(folder / f"{name}.{suffix.replace('smile', 'csv')}", name, x)
    order = ("d", "a", "unheard", "c.1")
    made = attached(tmp_path, "--features", folder, *SET, ids=order)
    assert made.samples["id"].tolist() == ["d", "a", "c.1"]
    assert made.notes == (
        "1 of 4 clips have no features and were left out, such as unheard.",
        "1 clips with features are not in the corpus, such as b.",
    )
    expected = np.stack([padded(np.atleast_2d(given_rows[name]), STEPS) for name in ("d", "a", "c.1")])
    if framed:
        assert made.samples["lld_steps"].tolist() == [5.0, 2.0, 4.0]
        assert (made.views["lld"].lengths, made.views["lld"].features) == ("lld_steps", "my set 1")
        np.testing.assert_array_equal(values(made, "lld"), expected.astype(np.float32))
    else:
        assert made.views["hld"].lengths == ""
        np.testing.assert_array_equal(values(made, "hld"), expected[:, 0].astype(np.float32))


@pytest.mark.parametrize("suffix", ["npy", "npz", "mat", "csv"])
def test_a_column_per_clip_is_a_vector(tmp_path, suffix):
    """As `savetxt` writes a vector, and MATLAB holds one."""
    folder = tmp_path / "features"
    folder.mkdir()
    for name, x in zip(NAMES, VECTORS, strict=True):
        if suffix == "csv":
            np.savetxt(folder / f"{name}.csv", x)
        else:
            CLIPS[suffix](folder / f"{name}.{suffix}", name, x[:, None])
    made = attached(tmp_path, "--features", folder, *SET)
    np.testing.assert_array_equal(values(made, "hld"), VECTORS.astype(np.float32))


def test_one_named_column_is_a_feature_of_frames(tmp_path):
    folder = tmp_path / "features"
    folder.mkdir()
    for name, x in FRAMES.items():
        (folder / f"{name}.csv").write_text("F0\n" + "\n".join(map(repr, x[:, 0].tolist())) + "\n")
    made = attached(tmp_path, "--features", folder, *SET)
    assert made.views["lld"].shape == (4, STEPS, 1)
    assert made.samples["lld_steps"].tolist() == [2.0, 3.0, 4.0, 5.0]


@pytest.mark.parametrize("suffix", ["npy", "npz", "mat"])
def test_transposed_frames_do_not_pass_for_frames(tmp_path, suffix):
    folder = tmp_path / "features"
    folder.mkdir()
    for name in "ab":
        CLIPS[suffix](folder / f"{name}.{suffix}", name, np.ones((65, STEPS)))
    with pytest.raises(
        UserError, match=r"features: every clip holds an array \[65, 1000\], which looks transposed; \["
    ):
        attached(tmp_path, "--features", folder, *SET)
    CLIPS[suffix](folder / f"b.{suffix}", "b", np.ones((64, STEPS)))
    assert attached(tmp_path, "--features", folder, *SET).samples["lld_steps"].tolist() == [65.0, 64.0]
    CLIPS[suffix](folder / f"b.{suffix}", "b", np.ones((65, 300)))
    with pytest.raises(
        UserError, match=rf"b\.{suffix}: has 300 columns, but a\.{suffix} has 1000; .* both were transp"
    ):
        attached(tmp_path, "--features", folder, *SET)


@pytest.mark.parametrize("suffix", ["npy", "npz", "mat"])
def test_frames_are_counted_without_reading_them(tmp_path, suffix, monkeypatch):
    folder = tmp_path / "features"
    folder.mkdir()
    for name, x in FRAMES.items():
        CLIPS[suffix](folder / f"{name}.{suffix}", name, x)
    opened: list[str] = []
    read = precomputed._read_clip
    monkeypatch.setattr(precomputed, "_read_clip", lambda file: (opened.append(file.stem), read(file))[1])
    args = parsed(tmp_path, "--features", folder, *SET)
    assert known_ids(args, no_wavs) == list(NAMES)
    made = attach(pd.DataFrame({"id": ["d", "b"]}), args, no_wavs)
    assert opened == ["a", "a", *(["d", "b"] if suffix == "npy" else [])], "one, to know what all others must be like"
    assert made.samples["lld_steps"].tolist() == [5.0, 3.0]
    values(made, "lld")
    assert opened[-2:] == ["d", "b"]


def test_a_table_in_an_archive_is_read_when_its_rows_are(tmp_path, monkeypatch):
    file, read = inside_npz(tmp_path), precomputed.read_npz
    asked: list[str] = []
    monkeypatch.setattr(precomputed, "read_npz", lambda file, names: (asked.extend(names), read(file, names))[1])
    args = parsed(tmp_path, "--features", file, *SET)
    known_ids(args, no_wavs)
    made = attach(pd.DataFrame({"id": NAMES}), args, no_wavs)
    assert asked == ["clips", "clips"]
    np.testing.assert_array_equal(values(made, "hld"), VECTORS.astype(np.float32))
    assert asked[2:] == ["features"]


@pytest.mark.parametrize("form", TABLES)
def test_a_table(tmp_path, form, monkeypatch):
    monkeypatch.setattr(options, "CHUNK_BYTES", 24)  # Two rows a block.
    made = attached(tmp_path, "--features", TABLES[form](tmp_path), *SET, ids=("d", "b", "a"))
    np.testing.assert_array_equal(values(made, "hld"), VECTORS[[3, 1, 0]].astype(np.float32))
    assert made.notes[-1] == "1 clips with features are not in the corpus, such as c.1."
    if form in ("csv", "tsv", "arff", "smile"):
        assert "no features were left out: " in made.notes[0]
    assert known_ids(parsed(tmp_path, "--features", TABLES[form](tmp_path), *SET), no_wavs) == list(NAMES)


def test_memory_is_bounded_by_a_block(tmp_path):
    pq.write_table(pa.table({"id": [f"c{i}" for i in range(9000)], "x": np.arange(9000.0)}), tmp_path / "x.parquet")
    order = tuple(f"c{i}" for i in np.random.default_rng(0).permutation(9000))
    made = attached(tmp_path, "--features", tmp_path / "x.parquet", *SET, ids=order)
    assert [float(f"{clip[1:]}") for clip in order] == values(made, "hld")[:, 0].tolist()
    assert list(tmp_path.iterdir()) == [tmp_path / "x.parquet"]


def test_parts_of_one_set(tmp_path):
    for name, rows in {"one": [0, 2], "two": [3, 1]}.items():
        frame_of(VECTORS).iloc[rows].to_csv(tmp_path / f"{name}.csv", index=False)
    both = (tmp_path / "one.csv", tmp_path / "two.csv")
    made = attached(tmp_path, "--features", *both, *SET)
    np.testing.assert_array_equal(values(made, "hld"), VECTORS.astype(np.float32))
    frame_of(VECTORS).to_csv(both[1], index=False)
    with pytest.raises(UserError, match=r"two\.csv: clip a is in .*one\.csv as well"):
        attached(tmp_path, "--features", *both, *SET)
    frame_of(VECTORS).iloc[[3], :3].to_csv(both[1], index=False)
    with pytest.raises(UserError, match=r"two\.csv: view hld is \[2\] a clip, in .*one\.csv \[3\]"):
        attached(tmp_path, "--features", *both, *SET)


def test_parts_whose_columns_are_permuted(tmp_path):
    for name, rows, columns in ("one", [0, 2], ["f0", "f1", "f2"]), ("two", [3, 1], ["f0", "f2", "f1"]):
        frame_of(VECTORS).iloc[rows][["id", *columns]].to_csv(tmp_path / f"{name}.csv", index=False)
    np.save(tmp_path / "x.npy", VECTORS[:1])
    (tmp_path / "x.ids.txt").write_text("unnamed\n")
    for parts in (["one.csv", "two.csv"], ["x.npy", "one.csv", "two.csv"]):
        with pytest.raises(
            UserError, match=r"two\.csv: feature 2 is called f2, in .*one\.csv f1; every part must have"
        ):
            attached(tmp_path, "--features", *(tmp_path / part for part in parts), *SET)


@pytest.mark.parametrize("suffix", ["csv", "arff"])
@pytest.mark.parametrize("framed", [False, True])
def test_clips_whose_columns_are_permuted(tmp_path, suffix, framed):
    folder = tmp_path / "clips"
    folder.mkdir()
    np.save(folder / "a.npy", FRAMES["a"] if framed else VECTORS[0])
    for name, order in ("b", "012"), ("d", "120"):
        rows = FRAMES[name] if framed else VECTORS[:1]
        if suffix == "csv":
            smile_csv(folder / f"{name}.csv", name, rows)
        else:
            (folder / f"{name}.arff").write_text(arff({name: list(rows)}))
        file = folder / f"{name}.{suffix}"
        text = file.read_text()
        for i, j in enumerate(order):
            text = text.replace(f"f{i}[0]", f"g{j}") if suffix == "arff" else text.replace(f"f{i}", f"g{j}")
        file.write_text(text)
    with pytest.raises(
        UserError, match=rf"d\.{suffix}: feature 1 is called (pcm_)?g1, in .*b\.{suffix} (pcm_)?g0; every"
    ):
        list(attached(tmp_path, "--features", folder, *SET).views["hld"].blocks())


def test_semicolons_in_a_table_of_commas(tmp_path):
    (tmp_path / "x.csv").write_text("id,f;0\na,1.5\n")
    made = attached(tmp_path, "--features", tmp_path / "x.csv", *SET, ids=("a",))
    assert made.views["hld"].columns == ("f;0",)
    np.testing.assert_array_equal(values(made, "hld"), [[1.5]])


def test_tabs_in_the_head_of_an_arff_file(tmp_path):
    (tmp_path / "x.arff").write_text(HEAD.replace(" ", "\t").replace("a\tb", "a b") + "'a',1,2\n")
    made = attached(tmp_path, "--features", tmp_path / "x.arff", *SET, ids=("a",))
    assert made.views["hld"].columns == ("a b", "c")


def test_text_that_is_not_utf_8(tmp_path):
    ids = pa.array([b"a", b"\xff"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"id": ids, "f": [1.0, 2.0]}), tmp_path / "x.parquet")
    with pytest.raises(UserError, match=r"x\.parquet: column id holds text that is not UTF-8\.$"):
        attached(tmp_path, "--features", tmp_path / "x.parquet", *SET)
    pq.write_table(pa.table({"id": ["a", "b"], "f": ids}), tmp_path / "x.parquet")
    with pytest.raises(UserError, match=r"x\.parquet: column f .*\.$"):
        values(attached(tmp_path, "--features", tmp_path / "x.parquet", *SET), "hld")


HEAD = "@relation x\n@attribute name string\n@attribute 'a b' numeric\n@attribute \"c\" real\n@data\n"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("x.csv", "id,f\na,1\na,2\n", "column id: id a occurs in rows 1 and 2"),
        ("x.csv", "id,f\na,1\n,2\n", "column id, row 2: the id is missing"),
        ("x.csv", "id,f\na,1\nb,zwei\n", "column f, row b: 'zwei' is not a number"),
        ("x.csv", "id,class\na,1\n", "has no column of features"),
        ("x.csv", "key,f\na,1\n", "no column names the clips; call it id or name or file"),
        ("x.csv", "id,f\n", "has no rows"),
        ("x.csv", "id,f\na,1,2\n", "cannot be read as a table"),
        ("x.txt", "id,f\n", r"the name must end in \.csv, \.tsv or \.parquet"),
        ("x.arff", HEAD + "'a',1\n", "line 6 has 2 values for 3 columns"),
        ("x.arff", HEAD + "'a',1,2\n\n% words\n'b',1,?\n", r"line 9, column c: '\?' is not a number"),
        ("x.arff", HEAD + "'a',1,2\na.wav,1,2\n", "column name: id a occurs in rows 1 and 2"),
        ("x.arff", HEAD + "{0 a, 1 2}\n", "line 6 has 2 values for 3 columns"),
        ("x.arff", HEAD + "'a,1,2\n", "cannot be read"),
        ("x.arff", HEAD[:-6], r"no ARFF file \(the line @data is missing"),
        ("x.arff", HEAD.replace("name string", "named string") + "'a',1,2\n", "no column names the clips"),
        ("x.arff", "id,f\na,1\n", "line 1: 'id,f' has no place in the head of an ARFF file"),
        ("x.arff", "@attribute x\n@data\n", "line 1: '@attribute x' declares no attribute"),
    ],
)
def test_malformed_tables(tmp_path, name, content, sentence):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=rf"{name}: {sentence}"):
        values(attached(tmp_path, "--features", tmp_path / name, *SET), "hld")


def test_malformed_arrays(tmp_path):
    file = beside_npy(tmp_path)
    (tmp_path / "x.ids.txt").write_text("a\nb\n")
    with pytest.raises(UserError, match=r"x\.npy: has 4 rows but 2 ids"):
        attached(tmp_path, "--features", file, *SET)
    (tmp_path / "x.ids.txt").write_text("a\nb\n\nb")
    with pytest.raises(UserError, match=r"x\.ids\.txt: column 1, row 3: the id is missing"):
        attached(tmp_path, "--features", file, *SET)
    (tmp_path / "x.ids.txt").unlink()
    with pytest.raises(UserError, match=r"x\.npy: the ids of its rows are missing; write them to x\.ids\.txt"):
        attached(tmp_path, "--features", file, *SET)
    np.savez(tmp_path / "y.npz", a=VECTORS, b=VECTORS)
    with pytest.raises(UserError, match=r"y\.npz: holds a, b of numbers; exactly one is due"):
        attached(tmp_path, "--features", tmp_path / "y.npz", *SET)
    np.save(file, np.zeros((2, 3, 4)))
    with pytest.raises(UserError, match=r"x\.npy: holds an array \[2, 3, 4\]; \[clips, columns\] is due"):
        attached(tmp_path, "--features", file, *SET)


def test_malformed_clips(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()

    def refused(sentence: str) -> None:
        with pytest.raises(UserError, match=sentence):
            values(attached(tmp_path, "--features", folder, *SET), "hld")

    refused("clips: holds no file of features")
    np.save(folder / "a.npy", VECTORS[0])
    np.save(folder / "b.npy", VECTORS[1, :2])
    refused(r"b\.npy: has 2 columns, but a\.npy has 3")
    np.save(folder / "b.npy", VECTORS)
    refused(r"b\.npy: holds 4 rows, but a\.npy holds one")
    np.save(folder / "b.npy", np.zeros((2, 3, 4)))
    refused(r"b\.npy: holds an array \[2, 3, 4\]; \[columns\] or \[frames, columns\] is due")
    (folder / "b.npy").unlink()
    (folder / "b.csv").write_text("x,y,z\n1,2,drei\n")
    refused(r"b\.csv: line 2, column z: 'drei' is not a number")
    (folder / "a.mat").touch()
    refused(r"a\.npy: clip a has a\.mat as well")
    (folder / "a.mat").unlink()
    np.save(folder / "a.npy", FRAMES["a"])
    np.save(folder / "d.npy", FRAMES["a"][:, :2])
    (folder / "b.csv").unlink()
    refused(r"d\.npy: has 2 columns, but a\.npy has 3")


def test_frames_are_cut_with_a_note(tmp_path, monkeypatch):
    monkeypatch.setattr(options, "STEPS", 3)
    monkeypatch.setattr(precomputed, "STEPS", 3)
    (tmp_path / "clips").mkdir()
    for name, x in FRAMES.items():
        np.save(tmp_path / "clips" / f"{name}.npy", x)
    made = attached(tmp_path, "--features", tmp_path / "clips", *SET)
    assert made.samples["lld_steps"].tolist() == [2.0, 3.0, 3.0, 3.0]
    assert made.notes == ("View lld: 2 of 4 clips are longer than 3 frames, and cut.",)
    np.testing.assert_array_equal(values(made, "lld")[3], FRAMES["d"][:3].astype(np.float32))


GOOD = {
    "x.csv": frame_of(VECTORS).to_csv(index=False).encode(),
    "x.arff": arff(dict(zip(NAMES, VECTORS[:, None], strict=True))).encode(),
}


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    name=st.sampled_from([*GOOD, "clips/a.csv", "clips/a.arff", "clips/a.npy", "clips/a.npz", "clips/a.mat"]),
    junk=st.binary(max_size=12) | st.text(alphabet="',;\"\n?@%{}eE0123456789.-nai\t ", max_size=12).map(str.encode),
    share=st.floats(0, 1, allow_subnormal=False),
    removed=st.integers(0, 40),
)
@example("x.arff", b"\x00", 0.9, 0)
@example("x.csv", b"\xff\xfe", 0.0, 0)
@example("clips/a.csv", b"", 0.0, 9999)
def test_damage_ends_in_one_sentence_or_in_numbers(tmp_path, name, junk, share, removed):
    """Any splice into a good file leaves a readable file or one refused in one sentence that names it."""
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    if name not in GOOD:
        for old in file.parent.iterdir():
            old.unlink()
        CLIPS[file.suffix[1:]](file, "a", FRAMES["d"])
    content = GOOD.get(name) or file.read_bytes()
    at = int(share * len(content))
    file.write_bytes(content[:at] + junk + content[at + removed :])
    path = file.parent if name.startswith("clips") else file
    refusal = ""
    try:
        made = attached(tmp_path, "--features", path, *SET)
        assert all(values(made, view).dtype == np.float32 for view in made.views)
    except UserError as error:
        refusal = str(error)
    assert refusal == "" or str(path) in refusal
    assert "\n" not in refusal
