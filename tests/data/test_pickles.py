"""Pickles: arrays of either Python come out as they went in, and no command in one ever runs."""

from __future__ import annotations

import pickle
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affect.data.formats.pickles import read_pickle, unpickle
from affect.errors import UserError
from tests.data.hostile import MANY, Command, damaged, peak, python2_pickle, sentence_or_result

ARRAYS = {
    "plain": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
    "big": np.arange(5, dtype=">f4")[::2],
    "bool": np.array([True, False]),
    "none": np.float64(2.5),
}
OBJECTS = {
    "numbers": np.array([[1, 2.5], [np.float32(3), 4]], object),
    "turned": np.asfortranarray(np.arange(6).reshape(2, 3).astype(object)),
    "lists": np.array([None, None], object),
    "arrays": np.array([None, None], object),
}
OBJECTS["lists"][:] = [[1, 2, 3], [4, 5, 6]]
OBJECTS["arrays"][:] = [np.arange(3.0), np.arange(3, 6)]


def python2_text(value):
    return python2_pickle(value, protocol=0)


WRITERS = [*(lambda value, n=n: pickle.dumps(value, protocol=n) for n in range(6)), python2_pickle, python2_text]


@pytest.mark.parametrize("write", WRITERS, ids=[*map(str, range(6)), "python2", "python2 text"])
def test_pickled_arrays_come_out_as_they_went_in(write):
    found = unpickle(write({**ARRAYS, **OBJECTS, "other": [1, {"a": None}]}), "x", [*ARRAYS, *OBJECTS])
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    for name, array in OBJECTS.items():
        np.testing.assert_array_equal(found[name], np.array(array.tolist(), float))


def test_python_2_writes_numbers_as_escaped_text():
    """What `pickle.dumps({"a": numpy.array([-1.5, 1e300])})` gave there."""
    raw = (
        b"(dp0\nS'a'\np1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n(I0\ntp4\nS'b'\np5\ntp6\nRp7\n"
        b"(I1\n(I2\ntp8\ncnumpy\ndtype\np9\n(S'f8'\np10\nI0\nI1\ntp11\nRp12\n(I3\nS'<'\np13\nNNNI-1\nI-1\nI0\ntp14\n"
        b"bI00\nS'\\x00\\x00\\x00\\x00\\x00\\x00\\xf8\\xbf\\x9cu\\x00\\x88<\\xe47~'\np15\ntp16\nbs."
    )
    np.testing.assert_array_equal(unpickle(raw, "x", ["a"])["a"], [-1.5, 1e300])


@pytest.mark.parametrize("text", [b"S'\\xff\\xfe'\n0", b"S'\\xff\\\\n'\n0", b"S'\xff\xfe'\n0", b'S"\\x80\'"\n0'])
def test_commands_beside_escaped_text_do_not_run(tmp_path, text):
    mark = tmp_path / "mark"
    raw = text + pickle.dumps(Command(mark), protocol=0)
    with pytest.raises(UserError, match=r"x: the pickle asks for (posix|nt)\.system, which is neither"):
        unpickle(raw, "x", ["a"])
    assert not mark.exists()
    pickle.loads(raw, encoding="bytes")
    assert mark.exists(), "the pickle is hostile, so the test can fail"


def test_a_pickle_in_a_file(tmp_path):
    file = tmp_path / "1_1"
    file.write_bytes(pickle.dumps({b"data": np.arange(3), "labels": [1, 2]}))
    np.testing.assert_array_equal(read_pickle(file, ["data"])["data"], [0, 1, 2])
    with pytest.raises(UserError, match="1_1: array eye is missing; there is data, labels"):
        read_pickle(file, ["eye"])
    with pytest.raises(UserError, match="1_1: labels is a list, not an array"):
        read_pickle(file, ["labels"])
    file.write_bytes(pickle.dumps([1]))
    with pytest.raises(UserError, match="1_1: the pickle holds a list, not a dictionary of arrays"):
        read_pickle(file, ["data"])
    with pytest.raises(UserError, match="1_2: there is no such file"):
        read_pickle(tmp_path / "1_2", ["data"])
    with pytest.raises(UserError, match=r"not a readable pickle .*directory"):
        read_pickle(tmp_path, ["data"])


def hiding_places(command):
    within = np.array([command, 1], object)
    return [command, {"a": np.arange(3), "b": command}, {"a": within}, {command: 1}, {"a": [[command]]}, (command,)]


@pytest.mark.parametrize("protocol", range(6))
def test_a_command_in_a_pickle_does_not_run(tmp_path, protocol):
    mark = tmp_path / "mark"
    for value in hiding_places(Command(mark)):
        raw = pickle.dumps(value, protocol=protocol)
        with pytest.raises(UserError, match=r"x: the pickle asks for (posix|nt)\.system, which is neither"):
            unpickle(raw, "x", ["a"])
        assert not mark.exists()
    pickle.loads(raw)
    assert mark.exists(), "the pickle is hostile, so the test can fail"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"cbuiltins\neval\n(S'1'\ntR.", "builtins.eval"),
        (b"cnumpy\ndtype.__class__\n.", "numpy.dtype.__class__"),
        (b"\x80\x04\x8c\x05numpy\x8c\x04load\x93.", "numpy.load"),
        (b"(S'id'\nios\nsystem\n.", "os.system"),
        (b"P1\n.", "an object kept elsewhere"),
        (b"cnumpy\nndarray\n((I9\ntI0\ntR.", "a call of numpy.ndarray"),
        (b"cnumpy\ndtype\n(S'O'\ntR(I3\nS'|'\nNS'a'\nNtb.", "a type of its own"),
        (b"cnumpy\ndtype\n(S'V8'\ntR.", "the type 'V8'"),
        (b"c_codecs\nencode\n(Va\nVrot13\ntR.", "the encoding"),
        # The state of an object is set as attributes: it must reach none of what later pickles will call.
        (b"c_codecs\nencode\n(N}S'x'\nI1\nstb.", "a change of numpy"),
        (b"cnumpy\ndtype\n}S'__init__'\nI1\nsb.", "a change of numpy"),
    ],
)
def test_other_things_than_arrays_are_refused(raw, reason):
    with pytest.raises(UserError, match=r"^x: .*refused\.$") as refused:
        unpickle(raw, "x", ["a"])
    assert reason in str(refused.value)
    test_pickled_arrays_come_out_as_they_went_in(pickle.dumps)


class Claim:
    """An array that claims more than it has."""

    def __init__(self, shape, kind="f8", content=b"\0" * 8):
        self.state = (1, shape, np.dtype(kind), False, content)

    def __reduce__(self):
        return np.arange(1).__reduce__()[0], (np.ndarray, (0,), b"b"), self.state


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (Claim((10**12,)), r"would unpack [\d,]+ bytes to 8,000,000,000,000, [\d,]+ at most; refused"),
        (Claim((10**6, 10**6, 10**6, 10**6)), "would unpack"),
        (Claim((3,)), r"not a readable pickle \(cannot reshape array of size 1"),
        (Claim((-1,)), "without type or shape"),
        (Claim((0.5,)), "without type or shape"),
        (Claim((1,), content=b"\0" * 7), "not a readable pickle .*buffer size"),
        (Claim((2,), "O", [1.0]), "a shape that its elements do not fill"),
        (Claim((1,), "O", [Claim((1,), "O", [1.0])]), "an array of objects"),
        (Claim((1,), "O", ["text"]), r"an array of objects \(str\)"),
        (Claim((1,), "O", [[[1]]]), r"an array of objects \(list\)"),
        (Claim((2,), "O", [[1], [1, 2]]), "not a readable pickle .*same shape"),
        (Claim((2,), "O", {}), "a shape that its elements do not fill"),
        (np.array([10**400, 1], object), "an array of whole numbers that no type of numbers holds"),
        (np.array([[10**30], 1], object)[:1], "an array of whole numbers that no type of numbers holds"),
        (np.array(["text"]), "the type 'U4'"),
        (np.zeros(1, complex), "the type 'c16'"),
        (np.zeros(1, "f4,i4"), "the type 'V8'"),
    ],
)
def test_arrays_that_are_none(array, sentence):
    with pytest.raises(UserError, match=f"^x: .*{sentence}"):
        unpickle(pickle.dumps({"a": array}), "x", ["a"])


def test_what_a_pickle_refers_to_again_takes_memory_once():
    text = b"X" + (1 << 20).to_bytes(4, "little") + b"a" * (1 << 20)
    given = text + b"X\x06\0\0\0latin1\x86q\x010"
    encoded = b"}c_codecs\nencode\nq\x000" + given + b"U\x01l](" + b"h\x00h\x01R" * 1000 + b"es."
    most, found = peak(lambda: unpickle(encoded, "x", ["a"]))
    assert "array a is missing" in str(found)
    assert most < 8 << 20
    arrays = np.empty(2000, object)
    arrays[:] = [np.zeros(4000)] * 2000
    most, found = peak(lambda: unpickle(pickle.dumps({"a": arrays}), "x", ["a"], 1 << 20))
    assert "would unpack" in str(found)
    assert most < 8 << 20
    numbers = np.empty(20_000, object)
    numbers[:] = [[1.0] * 100_000] * 20_000
    began = time.perf_counter()
    assert "would unpack" in str(sentence_or_result(lambda: unpickle(pickle.dumps({"a": numbers}), "x", ["a"])))
    assert time.perf_counter() - began < 20, "each of 20,000 references would take some milliseconds"


def test_pickles_that_would_exhaust_the_machine():
    shared = np.zeros(100_000)
    amplified = np.empty(1000, object)
    amplified[:] = [shared] * 1000
    for raw in (
        b"}r\xff\xff\xff\x7f.",  # A memo of two thousand million entries.
        b"}p2147483647\n.",
        b"}" + b")" + b"\x85" * 300_000 + b"I1\ns.",  # A key so deep that to hash it overflows the stack.
        b"]" + b"I1\na" * 300_000 + b".",
        pickle.dumps({"a": amplified}),
    ):
        with pytest.raises(UserError, match=r"more than any dictionary|would unpack [\d,]+ bytes to 800,000,000"):
            unpickle(raw, "x", ["a"])


PICKLES = [pickle.dumps({"a": ARRAYS["plain"], "b": OBJECTS["arrays"]}, n) for n in (0, 2, 5)]
PICKLES.append(python2_text({"a": ARRAYS["plain"] - 1e300, "b": OBJECTS["numbers"]}))
PICKLES.append(python2_pickle({"a": ARRAYS["plain"], "b": OBJECTS["numbers"]}))


@MANY
@given(raw=st.sampled_from(PICKLES).flatmap(damaged))
def test_damaged_pickles(raw):
    found = sentence_or_result(lambda: unpickle(raw, "x", ["a", "b"]))
    assert str(found).startswith("x: ") if isinstance(found, UserError) else list(found) == ["a", "b"]


@MANY
@given(body=st.binary(max_size=60))
def test_arbitrary_pickles(body):
    assert isinstance(sentence_or_result(lambda: unpickle(body, "x", ["a"])), UserError)
