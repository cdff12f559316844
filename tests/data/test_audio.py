"""From recordings to features: reading, mel bands, openSMILE, and folders of them that go on where they were stopped."""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from affect.data.features import audio, mel
from affect.data.features.audio import STEPS, Unusable, extract, read_wave
from affect.data.features.extraction import FEATURES, extract_folder, open_features, serial
from affect.data.features.recordings import find_wavs
from affect.errors import UserError

RATE = 16_000
rng = np.random.default_rng(0)


def tone(hertz: float, seconds: float = 0.5, rate: int = RATE) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


def plain_log_mel(signal: list[float]) -> list[list[float]]:
    """The mel bands as their docstring says, bin by bin, with the transform written out."""
    edges = [700 * (10 ** (m / 2595) - 1) for m in np.linspace(0, 2595 * math.log10(1 + 8000 / 700), 42)]
    turn = np.exp(-2j * np.pi * np.outer(np.arange(257), np.arange(400)) / 512)
    frames = []
    for start in range(0, len(signal) - 399, 160):
        frame = [signal[start + n] * (0.5 - 0.5 * math.cos(2 * math.pi * n / 400)) for n in range(400)]
        power = [abs(x) ** 2 for x in turn @ frame]
        bands = []
        for left, centre, right in zip(edges, edges[1:], edges[2:], strict=False):
            total = 0.0
            for k, energy in enumerate(power):
                hertz = k * 16_000 / 512
                if left < hertz <= centre:
                    total += energy * (hertz - left) / (centre - left)
                elif centre < hertz < right:
                    total += energy * (right - hertz) / (right - centre)
            bands.append(math.log(max(total, 1e-10)))
        frames.append(bands)
    return frames


def test_mel_bands_are_what_their_definition_says():
    signal = 0.1 * rng.standard_normal(1100)
    found, total = mel.log_mel(signal, RATE, STEPS)
    assert (total, found.dtype) == (5, np.float32)
    np.testing.assert_allclose(found, plain_log_mel(signal.tolist()), rtol=1e-5)


def test_a_tone_lands_in_its_band_at_every_rate():
    centres = mel.edges()[1:-1]
    for band in range(2, 40, 5):
        for rate in (16_000, 44_100, 48_000):
            found, _ = mel.log_mel(tone(centres[band], rate=rate), rate, STEPS)
            assert set(found[2:-2].argmax(axis=1)) == {band}, (band, rate)


def test_silence_is_at_the_floor():
    found, total = mel.log_mel(np.zeros(RATE), RATE, STEPS)
    assert total == 98
    assert (found == np.float32(np.log(1e-10))).all()


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2), (10**6, 6248)])
def test_frames_are_counted_whole_and_cut(samples, frames):
    found, total = mel.log_mel(rng.standard_normal(samples), RATE, 300)
    assert (len(found), total) == (min(frames, 300), frames)


def test_the_first_frames_do_not_depend_on_what_is_cut():
    signal = rng.standard_normal(RATE)
    whole, _ = mel.log_mel(signal, RATE, STEPS)
    np.testing.assert_allclose(mel.log_mel(signal, RATE, 7)[0], whole[:7], rtol=1e-6)


def write(file: Path, signal: np.ndarray, rate: int = RATE, subtype: str = "PCM_16") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, signal, rate, subtype=subtype)
    return file


def test_channels_are_averaged_and_the_rate_is_kept(tmp_path):
    left, right = np.round(rng.uniform(-8000, 8000, (2, 480))) / 32768
    signal, rate = read_wave(write(tmp_path / "a.wav", np.stack([left, right], axis=1), 48_000))
    assert rate == 48_000
    np.testing.assert_array_equal(signal, ((left + right) / 2).astype(np.float32))


def test_what_cannot_be_used_says_why(tmp_path, monkeypatch):
    (tmp_path / "broken.wav").write_bytes(b"RIFF no wave at all")
    (tmp_path / "nothing.wav").touch()
    (tmp_path / "folder.wav").mkdir()
    write(tmp_path / "empty.wav", np.zeros(0))
    write(tmp_path / "silent.wav", np.zeros(800))
    write(tmp_path / "constant.wav", np.full(800, 0.25))
    write(tmp_path / "opposed.wav", np.array([[300, -300], [200, -200]], np.int16))
    write(tmp_path / "short.wav", tone(100, 0.02))
    write(tmp_path / "slow.wav", tone(100), 100)
    write(tmp_path / "nan.wav", np.full(800, np.nan), subtype="FLOAT")
    write(tmp_path / "long.wav", tone(100, 2))
    monkeypatch.setattr(audio, "LONGEST", 1.5)
    for name, why in {
        "broken": "cannot be read: .+",
        "nothing": "cannot be read: .+",
        "folder": "cannot be read: .+",
        "gone": "cannot be read: .+",
        "empty": "empty",
        "silent": "silent",
        "constant": "silent",
        "opposed": "silent",
        "short": "20 ms long, too short for mfb",
        "slow": "a sampling rate of 100 Hz",
        "nan": "holds samples that are not finite",
        "long": "0.0 h long",
    }.items():
        with pytest.raises(Unusable, match=f"^{why}$") as raised:
            extract(tmp_path / f"{name}.wav", ["mfb"])
        assert "\n" not in str(raised.value)
        assert str(tmp_path) not in str(raised.value)


def test_channels_are_averaged_block_by_block(tmp_path, monkeypatch):
    file = write(tmp_path / "a.wav", rng.uniform(-0.5, 0.5, (1000, 3)))
    whole, _ = read_wave(file)
    monkeypatch.setattr(audio, "BLOCK_FRAMES", 64)
    np.testing.assert_array_equal(read_wave(file)[0], whole)
    np.testing.assert_array_equal(whole, soundfile.read(file, dtype="float32")[0].mean(axis=1))


def test_a_small_file_of_many_samples_is_not_decoded(tmp_path, monkeypatch):
    """FLAC under the name of a wav: eight channels at 192 kHz, of which silence takes next to nothing."""
    file = tmp_path / "bomb.wav"
    soundfile.write(file, np.zeros((192_000, 8), np.int16), 192_000, format="FLAC", subtype="PCM_16")
    assert file.stat().st_size < 20_000
    with pytest.raises(Unusable, match="silent"):
        read_wave(file)
    monkeypatch.setattr(audio, "MOST_BYTES", 4 << 20)
    with pytest.raises(Unusable, match=r"^5 MB in 8 channels once decoded$"):
        read_wave(file)


def test_what_a_library_stumbles_over_is_skipped(tmp_path, monkeypatch):
    wavs = {name: write(tmp_path / f"{name}.wav", tone(100 * hertz)) for hertz, name in enumerate("ab", start=1)}

    def odd(signal: np.ndarray, rate: int) -> audio.Extracted:
        if np.abs(np.fft.rfft(signal)).argmax() < 75:
            raise AssertionError("no\nsuch filter")
        return audio._bands(signal, rate)

    monkeypatch.setitem(audio.SETS, "mfb", replace(audio.SETS["mfb"], extract=odd))
    folder = extract_folder(wavs, tmp_path / "f", ["mfb"])
    assert (list(folder.clips), folder.skipped) == (["b"], {"a": "mfb cannot be computed: no such filter"})

    def refuses(signal: np.ndarray, rate: int) -> audio.Extracted:
        raise UserError("not installed.")

    monkeypatch.setitem(audio.SETS, "mfb", replace(audio.SETS["mfb"], extract=refuses))
    with pytest.raises(UserError, match="not installed"):
        extract_folder(wavs, tmp_path / "g", ["mfb"])


@pytest.fixture
def wavs(tmp_path) -> dict[str, Path]:
    """Six clips, one in stereo at 48 kHz, one longer than 10 s, and three that cannot be used."""
    root = tmp_path / "wavs"
    for i, name in enumerate("abcd"):
        write(root / "inner" / f"{name}.wav", tone(200 + 100 * i) + 0.01 * rng.standard_normal(RATE // 2))
    write(root / "stereo.WAV", np.stack([tone(300, rate=48_000), tone(500, rate=48_000)], axis=1), 48_000)
    write(root / "long.wav", tone(300, 11))
    write(root / "silent.wav", np.zeros(800))
    write(root / "empty.wav", np.zeros(0))
    (root / "broken.wav").write_bytes(b"RIFF")
    (root / "._a.wav").write_bytes(b"left by a Mac")
    return find_wavs(root)


class Counting:
    """`serial`, remembering what it was given; it is interrupted after `most` items, and loses those in `dead`."""

    def __init__(self, most: int = 99, dead: str = "") -> None:
        self.given: list[str] = []
        self.most, self.dead = most, dead

    def __call__(self, work, items, what):
        for clip, wav in items:
            if len(self.given) == self.most:
                raise KeyboardInterrupt
            self.given.append(clip)
            if clip not in self.dead.split():
                yield work((clip, wav))


def test_a_features_folder_has_every_usable_clip(wavs, tmp_path):
    folder = extract_folder(wavs, tmp_path / "f", ["mfb"])
    assert list(folder.clips) == ["a", "b", "c", "d", "long", "stereo"]
    assert (folder.skipped["silent"], folder.skipped["empty"]) == ("silent", "empty")
    assert folder.skipped["broken"].startswith("cannot be read: ")
    assert open_features(tmp_path / "f") == folder
    shown = folder.describe()
    assert "clips        6" in shown
    assert "skipped      silent: silent" in shown
    source = folder.views()["mfb"]
    assert (source.shape, source.steps(["a", "long"])) == ((STEPS, 40), [48, 1098])
    with source.opened() as rows:
        both = rows(["long", "a"])
    np.testing.assert_array_equal(both[1, :48], extract(wavs["a"], ["mfb"])["mfb"].values)
    assert not both[1, 48:].any()
    np.testing.assert_array_equal(both[0], mel.log_mel(read_wave(wavs["long"])[0], RATE, STEPS)[0])


def test_an_extraction_goes_on_where_it_was_stopped(wavs, tmp_path):
    out = tmp_path / "f"
    first = Counting(most=4)
    with pytest.raises(KeyboardInterrupt):
        extract_folder(wavs, out, ["mfb"], first)
    assert not open_features(out).finished
    before = {file.name: file.stat().st_mtime_ns for file in (out / "clips").iterdir()}
    assert before
    second = Counting()
    folder = extract_folder(wavs, out, ["mfb"], second)
    assert folder.finished
    again = set(first.given) & set(second.given)
    assert again == {clip for clip in first.given if clip in folder.skipped}
    assert {name: (out / "clips" / name).stat().st_mtime_ns for name in before} == before
    assert folder == replace(extract_folder(wavs, tmp_path / "whole", ["mfb"]), folder=out)
    third = Counting()
    assert extract_folder(wavs, out, ["mfb"], third) == folder
    assert third.given == []


def test_new_files_are_taken_up_and_mended_ones_lose_their_reason(wavs, tmp_path):
    out = tmp_path / "f"
    extract_folder({clip: wavs[clip] for clip in ("a", "silent")}, out, ["mfb"])
    write(wavs["silent"], tone(100))
    folder = extract_folder({clip: wavs[clip] for clip in ("b", "silent")}, out, ["mfb"])
    assert (list(folder.clips), dict(folder.skipped)) == (["a", "b", "silent"], {})


def test_recordings_that_changed_are_read_again(wavs, tmp_path):
    out = tmp_path / "f"
    before = extract_folder(wavs, out, ["mfb"])
    earlier = time.time() - 10_000
    write(wavs["a"], tone(2000, seconds=0.2))
    write(wavs["b"], np.zeros(4000))
    write(wavs["silent"], tone(300))
    write(wavs["empty"], tone(20, 0.02))
    for clip in ("a", "b", "silent", "empty"):  # As `cp -p`, archives and other folders bring them.
        os.utime(wavs[clip], (earlier, earlier))
    counting = Counting()
    folder = extract_folder(wavs, out, ["mfb"], counting)
    assert set(counting.given) == {"a", "b", "silent", "empty"}
    assert folder.clips["a"] != before.clips["a"]
    assert (folder.skipped["b"], folder.skipped["empty"]) == ("silent", "20 ms long, too short for mfb")
    assert "b" not in folder.clips
    assert "silent" in folder.clips
    again = Counting()
    assert extract_folder(wavs, out, ["mfb"], again) == folder
    assert again.given == []


def test_recordings_of_the_same_size_or_the_same_time_are_told_apart(wavs, tmp_path):
    out = tmp_path / "f"
    extract_folder(wavs, out, ["mfb"])
    same_time, same_size = wavs["a"].stat(), wavs["b"].stat()
    write(wavs["a"], tone(900, 0.4))
    os.utime(wavs["a"], ns=(same_time.st_atime_ns, same_time.st_mtime_ns))
    write(wavs["b"], tone(900))
    os.utime(wavs["b"], ns=(same_size.st_atime_ns, same_size.st_mtime_ns - 1))
    counting = Counting()
    extract_folder(wavs, out, ["mfb"], counting)
    assert set(counting.given) == {"a", "b"}


def test_a_recording_that_came_back_is_not_taken_for_the_one_that_was_read(wavs, tmp_path):
    out = tmp_path / "f"
    first = extract_folder(wavs, out, ["mfb"])
    old, was = wavs["a"].read_bytes(), wavs["a"].stat()
    write(wavs["a"], tone(900, 0.4))
    write(wavs["d"], tone(900, 0.4))
    with pytest.raises(KeyboardInterrupt):
        extract_folder(wavs, out, ["mfb"], Counting(most=1))
    wavs["a"].write_bytes(old)
    os.utime(wavs["a"], ns=(was.st_atime_ns, was.st_mtime_ns))
    counting = Counting()
    folder = extract_folder(wavs, out, ["mfb"], counting)
    assert counting.given == ["a", "d"]
    assert folder.clips["a"] == first.clips["a"]


def test_features_without_a_record_of_their_recording_are_made_anew(wavs, tmp_path):
    out = tmp_path / "f"
    folder = extract_folder(wavs, out, ["mfb"])
    raw = json.loads((out / FEATURES).read_text())
    del raw["sources"]
    (out / FEATURES).write_text(json.dumps(raw))
    file = out / "clips" / "a.npz"
    kept = dict(np.load(file))
    del kept["source"]
    np.savez(file, **kept)
    assert open_features(out).clips == folder.clips
    counting = Counting()
    assert extract_folder(wavs, out, ["mfb"], counting) == folder
    assert set(counting.given) == {"a", *folder.skipped}


def test_what_could_not_be_opened_is_tried_again(wavs, tmp_path):
    out = tmp_path / "f"
    (tmp_path / "wavs" / "folder.wav").mkdir()
    some = {"a": wavs["a"], "folder": tmp_path / "wavs" / "folder.wav", "gone": tmp_path / "gone.wav"}
    extract_folder(some, out, ["mfb"])
    counting = Counting()
    folder = extract_folder(some, out, ["mfb"], counting)
    assert counting.given == ["folder", "gone"] == list(folder.skipped)


def test_a_place_for_features_whose_name_is_too_long(wavs, tmp_path):
    with pytest.raises(UserError, match=r"nn: cannot be written \(File name too long\)\.$"):
        extract_folder(wavs, tmp_path / ("n" * 300), ["mfb"])
    long = write(tmp_path / "long" / ("n" * 251 + ".wav"), tone(300))
    with pytest.raises(UserError, match=r"n\.npz: cannot be written \(File name too long\)\.$"):
        extract_folder(find_wavs(long.parent), tmp_path / "f", ["mfb"])


def test_clips_whose_workers_die_are_listed(wavs, tmp_path):
    folder = extract_folder(wavs, tmp_path / "f", ["mfb"], Counting(dead="b c"))
    assert {"b", "c"} < set(folder.skipped)
    assert list(folder.clips) == ["a", "d", "long", "stereo"]
    counting = Counting()
    assert list(extract_folder(wavs, tmp_path / "f", ["mfb"], counting).clips) == ["a", "b", "c", "d", "long", "stereo"]
    assert set(counting.given) == {"b", "c"}


def test_other_sets_and_versions_are_refused(wavs, tmp_path, monkeypatch):
    out = tmp_path / "f"
    extract_folder(wavs, out, ["mfb"])
    newer = audio.FeatureSet((STEPS, 40), lambda: "mel bands 2", audio._bands)
    monkeypatch.setitem(audio.SETS, "mfb", newer)
    with pytest.raises(UserError, match=r"f: holds mfb \(40 log mel .* must not be mixed with mfb \(mel bands 2\)"):
        extract_folder(wavs, out, ["mfb"])
    counting = Counting()
    folder = extract_folder(wavs, out, ["mfb"], counting, overwrite=True)
    assert set(counting.given) == set(wavs)
    assert folder.sets["mfb"].features == "mel bands 2"


def test_folders_that_are_something_else_are_left_alone(wavs, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    for overwrite in (False, True):
        with pytest.raises(UserError, match="mine: exists and is no features folder"):
            extract_folder(wavs, tmp_path / "mine", ["mfb"], serial, overwrite)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file: cannot be written"):
        extract_folder(wavs, tmp_path / "file", ["mfb"])
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 9}', '{"format": 1, "sets": 3}', "\x00"])
def test_damaged_features_json(tmp_path, text):
    (tmp_path / FEATURES).write_text(text)
    with pytest.raises(UserError, match=r"features\.json: "):
        open_features(tmp_path)


def test_damaged_clips(wavs, tmp_path):
    folder = extract_folder({"a": wavs["a"]}, tmp_path / "f", ["mfb"])
    file = tmp_path / "f" / "clips" / "a.npz"
    for content, sentence in {b"PK": "not a readable", b"": "not a readable"}.items():
        file.write_bytes(content)
        with folder.views()["mfb"].opened() as rows, pytest.raises(UserError, match=rf"a\.npz: {sentence}"):
            rows(["a"])
    np.savez(file, mfb=np.zeros((3, 7)))
    with folder.views()["mfb"].opened() as rows, pytest.raises(UserError, match=r"shape \[3, 7\] where \[1000, 40\]"):
        rows(["a"])


def test_names_of_recordings(tmp_path):
    with pytest.raises(UserError, match=r"there is no \.wav file"):
        find_wavs(tmp_path)
    write(tmp_path / "x" / "a.wav", tone(100))
    write(tmp_path / "y" / "a.wav", tone(100))
    with pytest.raises(UserError, match=r"y/a\.wav: has the id a, as .*x/a\.wav has"):
        find_wavs(tmp_path)
    (tmp_path / "y" / "a.wav").rename(tmp_path / "y" / "new\nline.wav")
    with pytest.raises(UserError, match=r"the name 'new\\nline\.wav' cannot be printed"):
        find_wavs(tmp_path)


def test_missing_libraries_are_named(wavs, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(UserError, match=r'pip install "affect\[opensmile\]".*non-commercial'):
        extract_folder(wavs, tmp_path / "f", ["hld"])
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(UserError, match=r'pip install "affect\[audio\]"'):
        extract_folder(wavs, tmp_path / "f", ["mfb"])
    assert not (tmp_path / "f").exists()


@pytest.mark.data
def test_real_speech(shared_data, tmp_path, capsys):
    opensmile = pytest.importorskip("opensmile")
    wavs = find_wavs(shared_data / "ravdess_sample")
    folder = extract_folder(wavs, tmp_path / "f", ["hld", "lld", "mfb"])
    assert "non-commercial" in capsys.readouterr().out
    assert (len(folder.clips), folder.skipped) == (29, {})
    assert opensmile.__version__ in folder.sets["hld"].features
    found = {}
    for name, source in folder.views().items():
        with source.opened() as rows:
            found[name] = dict(zip(wavs, rows(list(wavs)), strict=True))
        assert np.isfinite(np.stack(list(found[name].values()))).all()
    levels = {"hld": opensmile.FeatureLevel.Functionals, "lld": opensmile.FeatureLevel.LowLevelDescriptors}
    some = ["16k_03-01-01-01-01-01-01", "48k_03-01-02-01-01-02-01", "48k_03-01-04-01-01-01-20"]
    assert [soundfile.info(wavs[clip]).channels for clip in some] == [1, 2, 1]
    for name, level in levels.items():
        for clip in wavs if name == "hld" else some:
            channels = range(soundfile.info(wavs[clip]).channels)
            smile = opensmile.Smile(opensmile.FeatureSet.ComParE_2016, level, channels=channels, mixdown=True)
            direct = smile.process_file(str(wavs[clip])).to_numpy()
            mine = found[name][clip]
            if name == "lld":
                assert folder.clips[clip]["lld"] == len(direct)
                assert not mine[len(direct) :].any()
                mine = mine[: len(direct)]
            np.testing.assert_array_equal(mine.reshape(direct.shape), direct)
    for clip, frames in folder.clips.items():
        seconds = soundfile.info(wavs[clip]).duration
        assert frames["mfb"] == pytest.approx(100 * seconds - 1.5, abs=1)
    assert json.loads((tmp_path / "f" / FEATURES).read_text())["finished"]


def test_loud_samples_do_not_change_their_sign():
    pytest.importorskip("opensmile")
    loud = np.sign(tone(100)).astype(np.float32)
    quiet = np.clip(loud, -1, 32767 / 32768).astype(np.float32)
    for name in ("hld", "lld"):
        found = [audio.SETS[name].extract(signal, RATE).values for signal in (loud, 2 * loud, quiet)]
        np.testing.assert_array_equal(found[0], found[2])
        np.testing.assert_array_equal(found[1], found[2])
    assert not audio.SETS["hld"].extract(loud[:900], RATE).values.size
