"""Foreign files: numbers come out exactly, code never runs, and whatever is malformed ends in one sentence."""

from __future__ import annotations

import io
import os
import pickle
import re
import sys
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import loadmat, savemat

from affect.data.formats import limits, mat5
from affect.data.formats.foreign import heads, read_mat, read_npz
from affect.data.formats.pickles import read_pickle
from affect.errors import UserError
from tests.data.hostile import MANY, Command, damaged, peak, sentence_or_result


@pytest.mark.parametrize("form", ["pickle", "npz", "mat", "hdf5"])
def test_no_more_is_unpacked_than_is_due(tmp_path, form):
    file = tmp_path / "a"
    arrays = {"x": np.zeros(100_000), "other": np.zeros(1_000_000)}
    if form == "pickle":
        file.write_bytes(pickle.dumps(arrays))
    elif form == "npz":
        np.savez_compressed(file.open("wb"), **arrays)
    elif form == "mat":
        savemat(file.open("wb"), arrays, do_compression=True)
    else:
        h5py = pytest.importorskip("h5py")
        write_hdf5(file, lambda f: f.create_dataset("x", data=arrays["x"], compression="gzip"), h5py)
    read = {"pickle": read_pickle, "npz": read_npz}.get(form, read_mat)
    np.testing.assert_array_equal(read(file, ["x"], 900_000)["x"].ravel(), arrays["x"])
    most, found = peak(lambda: read(file, ["x"], 700_000))
    assert re.fullmatch(r".*a: would unpack [\d,]+ bytes to 80\d,\d+, 700,000 at most; refused\.", str(found))
    assert most < (2 if form == "pickle" else 1) * file.stat().st_size + 700_000


def test_free_files_take_little_more_memory_than_they_have_bytes():
    for size, stored in ((64 << 20, 1), (100 << 20, 1 << 20), (3 << 30, 3 << 30), (1500 << 20, 1000 << 20)):
        limits.refuse_bomb(size, stored, "x")
    for size, stored in ((65 << 20, 1), (101 << 20, 1 << 20), (600 << 20, 50 << 20), (2 << 30, 1 << 30)):
        with pytest.raises(UserError, match=r"^x: would unpack .* at most; refused unless stored unpacked, as \.npy"):
            limits.refuse_bomb(size, stored, "x")


def test_npz(tmp_path):
    file = tmp_path / "a.npz"
    np.savez_compressed(file, x=np.eye(3), word=b"bytes\0.", labels=np.arange(3))
    found = read_npz(file)
    assert list(found) == ["x", "word", "labels"]
    np.testing.assert_array_equal(found["x"], np.eye(3))
    assert found["word"].item() == b"bytes\0."
    assert list(read_npz(file, ["labels"])) == ["labels"]
    with pytest.raises(UserError, match=r"a\.npz: array y is missing; there is x, word, labels"):
        read_npz(file, ["y"])
    with pytest.raises(UserError, match=r"b\.npz: there is no such file"):
        read_npz(tmp_path / "b.npz")


def npz(packed=zipfile.ZIP_DEFLATED, **members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", packed) as archive:
        for name, raw in members.items():
            archive.writestr(name, raw)
    return out.getvalue()


def npy(shape, descr="<f8", content=b""):
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": descr, "fortran_order": False, "shape": shape})
    return out.getvalue() + content


def test_npz_archives_that_are_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file, mark = tmp_path / "a.npz", tmp_path / "mark"
    whole = npz(**{"x.npy": npy((2,), content=b"\0" * 16)})
    objects = io.BytesIO()
    np.save(objects, np.array([Command(mark)], object), allow_pickle=True)
    encrypted = bytearray(whole)
    encrypted[whole.index(b"PK\x01\x02") + 8] |= 1
    encrypted[6] |= 1
    garbled = bytearray(whole)
    garbled[45:60] = b"\xff" * 15
    for raw, sentence in (
        (npz(**{"x.npy": objects.getvalue()}), "Object arrays cannot be loaded"),
        (npz(**{"x.npy": npy((10**15,))}), "not a readable .npz archive"),
        (npz(**{"x.npy": npy((-3,))}), "not a readable .npz archive"),
        (npz(**{"x.npy": npy((1,), "<c16", b"\0" * 16)}), "array x holds complex128, not numbers"),
        (npz(x=b"no array"), "not a readable .npz archive"),
        (npz(zipfile.ZIP_LZMA, **{"x.npy": npy((2,), content=b"\0" * 16)}), "packed in a way that numpy does not use"),
        (whole[:-30], "not a readable .npz archive"),
        (bytes(encrypted), "not a readable .npz archive .*encrypted"),
        (bytes(garbled), "not a readable .npz archive"),
        (b"", "not a readable .npz archive"),
    ):
        file.write_bytes(raw)
        with pytest.raises(UserError, match=sentence):
            read_npz(file, ["x"])
    assert not mark.exists()
    monkeypatch.setattr(limits, "SMALL_BYTES", 1 << 20)
    file.write_bytes(npz(**{f"{name}.npy": npy((100_000,), content=b"\0" * 800_000) for name in "xy"}))
    assert read_npz(file, ["x"])["x"].shape == (100_000,)
    with pytest.raises(UserError, match=r"a\.npz: would unpack [\d,]+ bytes to 1,600,256, 1,048,576 at most; refused"):
        read_npz(file)


def test_names_in_an_archive_reach_nothing_outside(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    names = ["../out.npy", "/tmp/affect-out.npy", "a/b.npy"]
    file = tmp_path / "in" / "a.npz"
    file.write_bytes(npz(**dict.fromkeys(names, npy((1,), content=b"\0" * 8))))
    assert list(read_npz(file)) == [name.removesuffix(".npy") for name in names]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.npz", "in"]
    assert not os.path.exists("/tmp/affect-out.npy")


def test_mat(tmp_path):
    file = tmp_path / "a.mat"
    savemat(file, {"x": np.arange(24.0).reshape(2, 3, 4), "n": np.int8([[1, 2]])}, do_compression=True)
    found = read_mat(file)
    np.testing.assert_array_equal(found["x"], np.arange(24.0).reshape(2, 3, 4))
    np.testing.assert_array_equal(found["n"], [[1, 2]])
    assert list(read_mat(file, ["n"])) == ["n"]
    with pytest.raises(UserError, match=r"a\.mat: array y is missing; there is x, n"):
        read_mat(file, ["y"])
    with pytest.raises(UserError, match=r"b\.mat: there is no such file"):
        read_mat(tmp_path / "b.mat")


@pytest.mark.parametrize(
    "value", [np.array([np.arange(2), "a"], object), {"a": 1}, "text", np.array([1j]), "sparse"], ids=str
)
def test_mat_of_other_things_than_numbers(tmp_path, value):
    from scipy.sparse import eye_array

    file = tmp_path / "a.mat"
    savemat(file, {"x": eye_array(3) if isinstance(value, str) and value == "sparse" else value, "n": 1})
    with pytest.raises(UserError, match=r"a\.mat: array x holds .*, not numbers"):
        read_mat(file, ["x"])
    assert read_mat(file, ["n"])["n"].item() == 1
    assert list(read_mat(file)) == ["n"]


def test_mat_is_what_scipy_reads(tmp_path):
    file = tmp_path / "a.mat"
    arrays = {
        "double": np.random.default_rng(0).standard_normal((3, 4, 5)),
        "flat": np.arange(7, dtype=np.float32),
        "small": np.uint8([[1, 2, 255]]),
        "large": np.uint64([[2**63]]),
        "logical": np.array([[True, False]]),
        "name_that_does_not_fit_into_a_tag": np.ones((2, 1), np.int16),
        "empty": np.zeros((0, 3)),
    }
    for packed in (False, True):
        savemat(file, {**arrays, "text": "x", "cells": np.array([1, "a"], object)}, do_compression=packed)
        expected = loadmat(file)
        for name, array in read_mat(file, list(arrays)).items():
            np.testing.assert_array_equal(array, expected[name], strict=True)


def swapped(raw, old, new):
    assert raw.count(old) == 1
    return raw.replace(old, new)


def test_mat_files_that_are_none(tmp_path):
    file = tmp_path / "a.mat"
    savemat(file, {"x": np.eye(3)})
    whole = file.read_bytes()
    shape, numbers = np.int32([3, 3]).tobytes(), np.int32([9, 72]).tobytes()
    savemat(file, {"x": np.eye(3)}, do_compression=True)
    packed = file.read_bytes()
    matrix = zlib.decompress(packed[136:])
    longer = zlib.compress(matrix + b"\0")
    text = whole[:124]
    for raw, sentence in (
        (swapped(whole, shape, np.int32([2**30, 2**30]).tobytes()), "9 numbers where its shape .* is due"),
        (swapped(whole, shape, np.int32([-3, -3]).tobytes()), r"has the shape \(-3, -3\)"),
        (swapped(whole, numbers, np.int32([200, 72]).tobytes()), "stored as the unknown type 200"),
        (swapped(whole, numbers, np.int32([9, 2**30]).tobytes()), "an element of 1073741824 bytes where"),
        (whole[:-30], "it is cut off"),
        (packed[:-30], "it is cut off"),
        (packed[:132] + np.uint32(len(longer)).tobytes() + longer, "longer than it says"),
        (packed[:-1] + b"\0", "incorrect data check"),
        (whole[:60], "does not begin like one"),
        (b"", "does not begin like one"),
        (b"x" * 4000, "does not begin like one"),
        (text + b"\x00\x01IM" + b"\x0e\0\0\0", "requires a buffer of 8 bytes"),
    ):
        file.write_bytes(raw)
        with pytest.raises(UserError, match=rf"a\.mat: not a readable MATLAB file \(.*{sentence}.*\)\."):
            read_mat(file, ["x"])


def test_mat_that_unpacks_to_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "SMALL_BYTES", 1 << 20)
    file = tmp_path / "a.mat"
    savemat(file, {"x": np.zeros(200_000), "n": 1}, do_compression=True)
    with pytest.raises(UserError, match=r"a\.mat: would unpack [\d,]+ bytes to 1,600,\d+, 1,048,576 at most; refused"):
        read_mat(file)
    assert read_mat(file, ["n"])["n"].item() == 1


def test_numbers_that_are_stored_in_fewer_bytes_than_they_take(tmp_path):
    file = tmp_path / "a.mat"
    savemat(file, {"x": np.zeros(100_000, np.uint8)})
    raw = bytearray(file.read_bytes())
    raw[raw.index(b"\x09\0\0\0", 136)] = 6  # MATLAB stores doubles that are whole numbers so.
    file.write_bytes(raw)
    assert read_mat(file, ["x"], 800_000)["x"].dtype == np.float64
    with pytest.raises(UserError, match=r"would unpack 100,\d+ bytes to 800,000, 700,000 at most; refused"):
        read_mat(file, ["x"], 700_000)


def test_shapes_are_read_without_the_numbers(tmp_path, monkeypatch):
    arrays = {"x": np.zeros((3, 5)), "n": np.zeros((1, 4), np.int8)}
    np.savez(tmp_path / "a.npz", word="text", **arrays)
    savemat(tmp_path / "a.mat", {**arrays, "word": "text"}, do_compression=True)
    with monkeypatch.context() as patched:
        patched.setattr(np.lib.format, "read_array", None)
        patched.setattr(mat5, "numbers", None)
        for name in ("a.npz", "a.mat"):
            found = heads(tmp_path / name)
            assert found.pop("word", ((), "U")) == ((), "U")
            assert found == {"x": ((3, 5), "f"), "n": ((1, 4), "i")}
    for name in ("a.npz", "a.mat"):
        (tmp_path / name).write_bytes(b"PK")
        with pytest.raises(UserError, match=rf"{name}: not a readable"):
            heads(tmp_path / name)


def write_hdf5(file, fill, h5py):
    """A MATLAB 7.3 file that `fill` fills."""
    with h5py.File(file, "w", userblock_size=512) as opened:
        fill(opened)
    raw = bytearray(file.read_bytes())
    raw[:512] = (b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM").ljust(512, b"\0")
    file.write_bytes(raw)


def test_mat_7_3(tmp_path, monkeypatch):
    h5py = pytest.importorskip("h5py")
    file, other = tmp_path / "a.mat", tmp_path / "other.mat"

    def write(fill):
        write_hdf5(file, fill, h5py)

    def good(f):
        f.create_dataset("x", data=np.arange(6.0).reshape(2, 3))
        f.create_group("#refs#")
        f.create_dataset("note", data=np.array([[104], [109]], np.uint16)).attrs["MATLAB_class"] = np.bytes_("char")

    write(good)
    found = read_mat(file)
    np.testing.assert_array_equal(found["x"], np.arange(6.0).reshape(2, 3).T)
    assert list(found) == ["x"]
    assert heads(file) == {"x": ((3, 2), "f")}
    with pytest.raises(UserError, match=r"a\.mat: array y is missing; there is note, x"):
        read_mat(file, ["y"])
    with h5py.File(other, "w") as opened:
        opened["x"] = [1.0]
    for fill, sentence in (
        (lambda f: f.create_dataset("x", (10**7, 10**7), "f8", chunks=(100, 100)), "would unpack"),
        (lambda f: f.create_dataset("x", (1,), "f8", chunks=(10**8,), maxshape=(None,)), "would unpack"),
        (lambda f: f.create_dataset("x", data=["text"]), "array x holds object, not numbers"),
        (lambda f: f.__setitem__("x", h5py.ExternalLink(str(other), "x")), "x is missing"),
        (lambda f: f.create_dataset("x", (4,), "u1", external=[(str(other), 0, 4)]), "x is missing"),
    ):
        write(fill)
        with pytest.raises(UserError, match=rf"a\.mat: .*{sentence}"):
            read_mat(file, ["x"])
    file.write_bytes(file.read_bytes()[:700])
    with pytest.raises(UserError, match=r"a\.mat: not a readable MATLAB file"):
        read_mat(file, ["x"])
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match=r"a\.mat: is a MATLAB 7\.3 file; `pip install h5py` to read it"):
        read_mat(file, ["x"])


def files():
    out = io.BytesIO()
    np.savez_compressed(out, x=np.arange(20.0))
    yield out.getvalue()
    for packed in (False, True):
        out = io.BytesIO()
        savemat(out, {"x": np.arange(20.0)}, do_compression=packed)
        yield out.getvalue()


@MANY
@given(raw=st.sampled_from(list(files())).flatmap(damaged))
@pytest.mark.filterwarnings("ignore")
def test_damaged_files(tmp_path, raw):
    file = tmp_path / "a"
    file.write_bytes(raw)
    for read in (read_npz, read_mat):
        found = sentence_or_result(lambda read=read: read(file, ["x"]))
        assert str(found).startswith(f"{file}: ") if isinstance(found, UserError) else list(found) == ["x"]
