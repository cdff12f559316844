"""The synthetic twins: what all of them promise about names, seeds, sizes, and the folder that they are made in."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

from affect.data import twin
from affect.data.corpus import PROTOCOLS, open_corpus
from affect.data.twin import FINGERPRINTS, NAMES, TWINS, columns, ensure_twin, make_twin, prepare, twin_facts
from affect.errors import UserError

DEMO = "podcast-twin-demo"
DEMOS = [name for name in NAMES if name.endswith("-demo")]
DIGITS = {
    "podcast-twin": "53c001fe84b9",
    "podcast-twin-demo": "a00df419de63",
    "iemocap-twin": "b6454f40beac",
    "iemocap-twin-demo": "34e997394b5a",
    "improv-twin": "80f134f3dff9",
    "improv-twin-demo": "c6bd5a44d2a7",
    "seed-twin": "70d820254a3b",
    "seed-twin-demo": "d10327d6ae5e",
    "deap-twin": "facb01a234de",
    "deap-twin-demo": "e176e2a6cdd3",
}


def ask(*words: str) -> argparse.Namespace:
    """`affect prepare twin` with these words."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    twin.add_arguments(parser)
    return argparse.Namespace(**vars(parser.parse_args(words)), overwrite=False)


@pytest.mark.parametrize("name", DEMOS)
def test_a_change_of_the_numbers_needs_a_new_version(made, name):
    """The constants are frozen: raise the generator's VERSION together with these digits."""
    assert made(name).manifest.fingerprint == FINGERPRINTS[name]
    assert {name: digits[:12] for name, digits in FINGERPRINTS.items()} == DIGITS
    assert list(DIGITS) == list(NAMES)
    assert [t.version for t in TWINS.values()] == [1] * len(TWINS)


@pytest.mark.parametrize("name", ["seed-twin", "deap-twin"])
def test_full_scale_has_its_fingerprint_too(name, tmp_path):
    assert make_twin(name, tmp_path / name).manifest.fingerprint == FINGERPRINTS[name]


def test_other_numbers_than_the_announced_are_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(columns, "WILD_ROWS", 0.1)
    with pytest.raises(UserError, match="where a00df419de63 is due"):
        make_twin(DEMO, tmp_path / DEMO)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", DEMOS)
def test_facts_are_known_before_it_is_made(made, name):
    corpus = made(name)
    targets = tuple(corpus.manifest.targets)
    for protocol in PROTOCOLS:
        for some in (targets, targets[:1], ()):
            assert twin_facts(name, protocol, some) == corpus.facts(protocol, some)


def test_facts_that_cannot_be_had():
    with pytest.raises(UserError, match="podcast-twin-demo: unknown target joy; the corpus has arousal, valence, dom"):
        twin_facts(DEMO, "as_published", ("joy",))
    with pytest.raises(UserError, match=r"seed-twin: unknown target arousal; the corpus has emotion\."):
        twin_facts("seed-twin", "as_published", ("arousal", "valence"))
    with pytest.raises(UserError, match="protocol best is not offered; there is as_published, leak_free"):
        twin_facts(DEMO, "best")


@pytest.mark.parametrize("name", DEMOS)
def test_it_never_passes_for_a_real_corpus(made, name):
    manifest = made(name).manifest
    assert manifest.synthetic
    assert manifest.title.startswith("Synthetic twin of a ")
    assert manifest.banner.startswith(f"{name}: synthetic numbers, no ")
    assert manifest.banner.endswith(" was recorded")
    for real in ("MSP", "IEMOCAP", "IMPROV", "SEED", "DEAP"):
        assert real not in (made(name).folder / "manifest.json").read_text()


@pytest.mark.parametrize("of", TWINS)
def test_full_scale_is_that_of_the_paper(of):
    samples = TWINS[of].draft("full", 0).samples
    counts = TWINS[of].counts("full", samples)
    assert [(count.published, count.why) for count in counts] == [(count.here, "") for count in counts]
    assert len(samples) == {"podcast": 204_636, "iemocap": 10_527, "improv": 8_438, "seed": 22_734, "deap": 21_042}[of]


@pytest.mark.parametrize("name", DEMOS)
def test_no_group_straddles_partitions_that_are_leak_free(made, name):
    corpus = made(name)
    frame = corpus.samples.assign(part=corpus.partition("leak_free")).dropna(subset=["group"])
    assert frame.groupby("group")["part"].nunique().max() == 1
    assert set(frame["part"]) == {"train", "development", "test"}


@pytest.mark.parametrize("of", TWINS)
def test_the_seed_decides(of):
    def numbers(seed):
        draft = TWINS[of].draft("demo", seed)
        return [next(iter(view.blocks())) for view in draft.views.values()]

    first, again, other = numbers(1), numbers(1), numbers(2)
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)


@pytest.mark.parametrize("of", ["podcast", "deap"])
def test_views_are_the_same_each_time_they_are_made(of):
    for view in TWINS[of].draft("demo", 0).views.values():
        whole = np.concatenate(list(view.blocks()))
        assert whole.shape == view.shape
        assert whole.dtype == np.float32
        np.testing.assert_array_equal(whole, np.concatenate(list(view.blocks())))


def test_a_block_depends_on_no_other():
    """What was drawn for one block leaves the next alone, in whatever order they are made."""
    size, draw = columns.Columns(10), np.random.default_rng
    mixed = columns.mixture(size, 12, draw(0))
    factors = np.round(draw(1).standard_normal((3 * columns.BLOCK - 7, 12)) * 32).astype(np.float32) / 32
    whole = list(columns.features(factors, mixed, draw))
    assert [len(block) for block in whole] == [columns.BLOCK, columns.BLOCK, columns.BLOCK - 7]
    for i in (2, 0, 1):
        alone = mixed.block(factors[i * columns.BLOCK : (i + 1) * columns.BLOCK], draw(i))
        np.testing.assert_array_equal(whole[i], alone)


@pytest.mark.parametrize("of", TWINS)
def test_a_fraction_keeps_groups_and_shares(of):
    whole, part = TWINS[of].draft("full", 0).samples, TWINS[of].draft(0.1, 0).samples
    assert len(part) / len(whole) == pytest.approx(0.1, rel=0.08)
    assert set(part["group"].dropna()) == set(whole["group"].dropna())
    for column in ("partition", *(["emotion"] if of == "seed" else ["quadrant"] if of == "deap" else [])):
        shares = [frame[column].value_counts(normalize=True) for frame in (whole, part)]
        for value, share in shares[0].items():
            assert shares[1][value] == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("of", TWINS)
def test_no_fraction_is_too_small(of):
    samples = TWINS[of].draft(1e-6, 0).samples
    assert set(samples["partition"]) >= {"train", "development", "test"}
    assert len(samples) <= 405


def test_a_fraction_has_its_own_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    corpus = prepare(ask("--of", "seed", "--fraction", "0.05"))
    assert (corpus.folder.name, corpus.manifest.name) == ("seed-twin-0.05", "seed-twin-0.05")
    assert corpus.manifest.title.endswith("(0.05 of its rows)")
    assert corpus.manifest.counts[1].why == "Made at 0.05."
    assert prepare(ask("--of", "seed", "--fraction", "0.05", "--seed", "3")).folder.name == "seed-twin-0.05-seed-3"
    assert TWINS["seed"].name(1.0) == "seed-twin"


@pytest.mark.parametrize("fraction", ["0", "-0.1", "1.01", "nan"])
def test_fractions_that_are_none(tmp_path, fraction):
    with pytest.raises(UserError, match=r"leaves the range \(0, 1\]"):
        prepare(ask("--fraction", fraction, "--out", str(tmp_path / "x")))
    assert list(tmp_path.iterdir()) == []


def test_a_scale_and_a_fraction_exclude_each_other():
    with pytest.raises(argparse.ArgumentError, match="not allowed with"):
        ask("--scale", "full", "--fraction", "0.5")


def test_another_twin_does_not_pass_for_the_default(tmp_path):
    make_twin("seed-twin-demo", tmp_path / DEMO)
    with pytest.raises(UserError, match=r"holds another corpus than podcast-twin-demo \(generated by .*, seed 0\)"):
        ensure_twin(DEMO, tmp_path / DEMO)
    make_twin(DEMO, tmp_path / "other", seed=5)
    with pytest.raises(UserError, match=r"seed 5\); .*`affect prepare twin --of podcast --scale demo --out .*other"):
        ensure_twin(DEMO, tmp_path / "other")


def test_ensure_makes_it_once(tmp_path):
    folder = tmp_path / "corpora" / DEMO
    made = ensure_twin(DEMO, folder)
    stamp = (folder / "manifest.json").stat().st_mtime_ns
    assert ensure_twin(DEMO, folder) == made == open_corpus(folder)
    assert (folder / "manifest.json").stat().st_mtime_ns == stamp


def test_ensure_opens_what_another_process_finished_first(tmp_path, monkeypatch):
    folder = tmp_path / DEMO
    real = twin.write_corpus

    def late(target, **given):
        real(target, **given)
        return real(target, **given)

    monkeypatch.setattr(twin, "write_corpus", late)
    assert ensure_twin(DEMO, folder).manifest.name == DEMO


def test_what_is_refused(tmp_path):
    with pytest.raises(UserError, match="unknown twin; there are podcast-twin, podcast-twin-demo, iemocap-twin"):
        make_twin("msp", tmp_path / "a")
    with pytest.raises(UserError, match="--seed -1"):
        make_twin(DEMO, tmp_path / "a", seed=-1)
    (tmp_path / "a").mkdir()
    with pytest.raises(UserError, match="exists already"):
        ensure_twin(DEMO, tmp_path / "a")
