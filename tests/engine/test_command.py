"""The command line of a study and of `affect`: mistakes in one sentence, plans, reports from results alone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from affect import cli
from affect.command import main
from affect.data.corpus import Corpus
from affect.data.writer import array_view, write_corpus
from affect.engine.store import Store
from affect.study import Row
from tests.engine import engine_fakes
from tests.engine.helpers import GRID, ROOT, Results, another_run, completed, environment, make_study

ROWS = (Row("other"), Row("toy", GRID), Row("fixed", floor=True), Row("text", floor=True))

TRAIN = ("--executor", "train", "--device", "cpu")

Run = Callable[..., int]


@pytest.fixture
def run(corpus: Corpus, toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The study's command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*options: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main(make_study(ROWS), ["--corpus", str(corpus.folder), "--executor", "inline", *options])
        return int(ended.value.code or 0)

    return call


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--systems", "toy", "tay"], "--systems tay: unknown system; this study has other, toy, fixed, text"),
        (["--systems", "toy", "text"], "--systems text: it fits on text, and tiny has none."),
        (["--scale", "huge"], "argument --scale: invalid choice: 'huge'"),
        (["--preset", "mine"], "argument --preset: invalid choice: 'mine'"),
        (["--protocol", "mine"], "argument --protocol: invalid choice: 'mine'"),
        (["--allow", "everything"], "argument --allow: invalid choice: 'everything'"),
        (["--executor", "slurm"], "argument --executor: invalid choice: 'slurm'"),
        (["--seeds", "few"], "argument --seeds: invalid int value: 'few'"),
        (["--seeds", "0"], "--seeds 0: at least one seed is needed."),
        (["--max-minutes", "0"], "--max-minutes 0: must be above zero."),
        (["--label-fraction", "0.01"], "Label fraction 0.01 leaves 1 of 120"),
        (["--label-fraction", "1.5"], "Label fraction 1.5 leaves"),
        (["--set", "alpah=1"], "--set alpah=1: no chosen system has a setting alpah; there is alpha, beta, fault"),
        (["--set", "Alpha=1"], "; did you mean alpha?"),
        (["--set", "alpha"], "--set alpha: write NAME=VALUE"),
        (["--set", "alpha=much"], "alpha=much is not a number."),
        (["--set", "alpha=2"], "alpha=2 must be between 0 and 1."),
        (["--set", "alpha=.8", "--set", "beta=.7"], "alpha=0.8 and beta=0.7 exceed 1."),
        (["--set", "fault=big"], "fault=big is not one of none"),
        (["--protocol", "leak_free"], "leak_free"),
        (["--corpus", "nowhere"], "nowhere: unknown corpus"),
        (["--reports", "x" * 300], "x: cannot be written (File name too long)."),
        (["--results", "nowhere://x"], "nowhere://x: is no place for results; give a local folder, or"),
        (["--executor", "ray", "--address", "127.0.0.1:1"], "--address 127.0.0.1:1: nothing answers there."),
        (["--workers-per-trial", "2"], "--workers-per-trial 2: goes with --executor train."),
        (["--executor", "ray", "--checkpoints", "."], "--checkpoints .: goes with --executor train."),
        ([*TRAIN, "--workers-per-trial", "0"], "--workers-per-trial 0: must be at least 1."),
        ([*TRAIN, "--gpus-per-worker", "0.5"], "--gpus-per-worker 0.5: this run is on the CPU."),
        ([*TRAIN, "--checkpoints", "nowhere"], "--checkpoints nowhere: there is no such folder."),
        (["--rocket"], "unrecognized arguments: --rocket (see"),
        (["--sytems", "toy"], "unrecognized arguments: --sytems toy; did you mean --systems? (see"),
        (["--seed", "3"], "unrecognized arguments: --seed 3; did you mean --seeds? (see"),
    ],
)
def test_mistakes_end_in_one_sentence_before_anything_is_written(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path, options: list[str], sentence: str
) -> None:
    assert run(*options) == 2
    written = capsys.readouterr()
    assert sentence in written.err
    assert len(written.err.strip().splitlines()) == 1
    assert "Traceback" not in written.err
    assert not list(tmp_path.iterdir())


def test_a_study_may_leave_its_target_and_label_fractions_to_others(
    corpus: Corpus, toys: None, capsys: pytest.CaptureFixture[str]
) -> None:
    study = replace(make_study(ROWS), targets=())
    study = replace(study, scales={"demo": replace(study.scales["demo"], label_fractions=(0.5, 0.1))})
    with pytest.raises(SystemExit, match="2"):
        main(study, ["--corpus", str(corpus.folder)])
    sentence = "tiny: this study is about one target, and there are arousal, valence, dominance."
    assert sentence in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(study, ["--help"])
    assert "share of training labels kept; default: 0.5 0.1 (demo)" in " ".join(capsys.readouterr().out.split())


def test_weights_above_one_are_refused_by_the_real_study(tmp_path: Path) -> None:
    options = ["--systems", "MTL", "--set", "alpha=0.7", "beta=0.6", "--executor", "inline"]
    study = str(ROOT / "studies" / "ladder_ablation.py")
    done = completed([sys.executable, study, *options], cwd=tmp_path, env=environment())
    assert done.returncode == 2
    assert "alpha=0.7" in done.stderr
    assert "beta=0.6" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir()), "not even the twin is made"


@pytest.fixture
def mistaken(run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., str]:
    """The sentence of a command that must end with one, and leave all files as they are."""

    def call(*options: str) -> str:
        before = contents(tmp_path)
        assert run(*options) == 2
        written = capsys.readouterr()
        assert len(written.err.splitlines()) == 1
        assert contents(tmp_path) == before
        return written.err

    return call


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_a_target_that_the_corpus_lacks(mistaken: Callable[..., str], corpus: Corpus, tmp_path: Path) -> None:
    other = tmp_path / "corpora" / "plain"
    shutil.copytree(corpus.folder, other)
    manifest = json.loads((other / "manifest.json").read_text())
    del manifest["targets"]["dominance"]
    (other / "manifest.json").write_text(json.dumps(manifest))
    assert "unknown target dominance; the corpus has arousal, valence." in mistaken("--corpus", str(other))


def test_rows_that_need_text_are_left_out_aloud(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    sentence = "text is left out: it fits on text, and tiny has none."
    for options, told in (((), True), (("--plan",), True), (("--systems", "toy"), False)):
        assert run(*options) == 0
        assert (sentence in capsys.readouterr().out) == told
        report = Path("reports/trial_study/report.md").read_text()
        assert "| toy" in report
        assert "| text" not in report


@pytest.fixture
def leaking(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """The corpus with speakers who keep to their partition, and one training row in test as well, under another id."""
    samples = corpus.samples.assign(group=corpus.samples["partition"])
    rows = np.concatenate([corpus.view("main"), np.roll(corpus.view("main"), 7, axis=0)], axis=1)
    rows[-1] = rows[0]
    return write_corpus(
        tmp_path_factory.mktemp("corpora") / "leaking",
        name="leaking",
        title="Leaking",
        banner="A recording lies in two partitions",
        synthetic=True,
        source="made up",
        licence="none",
        samples=samples,
        targets=corpus.manifest.targets,
        groups="speaker",
        protocols={"as_published": "partition", "leak_free": "partition"},
        views={"main": array_view(rows, "twelve numbers")},
    )


def test_what_was_found_stops_a_leak_free_study(mistaken: Callable[..., str], leaking: Corpus) -> None:
    options = ("--corpus", str(leaking.folder), "--protocol", "leak_free")
    sentence = (
        "leaking: what was found in this corpus stops a study under leak_free (rows_recur: 1 of 90 rows of development "
        "and test occur in another partition as well, the same in every view, such as s209 of test and s000 of train); "
        "add --allow rows_recur to run it all the same."
    )
    assert sentence in mistaken(*options)
    assert sentence in mistaken(*options, "--plan")
    assert sentence in mistaken(*options, "--allow", "label_encoded", "rows_nearly_recur")


def test_what_was_found_is_told_with_every_result(run: Run, leaking: Corpus, tmp_path: Path) -> None:
    options = ("--corpus", str(leaking.folder), "--systems", "other")
    finding = "Finding about the corpus: 1 of 90 rows of development and test occur in another partition as well"
    stored = {}
    for protocol, allow in (("as_published", ()), ("leak_free", ("--allow", "rows_recur"))):
        assert run(*options, "--protocol", protocol, *allow, "--results", protocol) == 0
        folder = "leaking-leak_free" if allow else "leaking"
        report = (tmp_path / "reports" / "trial_study" / folder / "report.md").read_text()
        assert finding in report
        assert ("Allowed by --allow rows_recur." in report) == bool(allow)
        (stored[protocol],) = Store(protocol, "trial_study").trials()["findings"].unique()
    assert stored == {"as_published": "rows_recur", "leak_free": "rows_recur (allowed)"}


@pytest.mark.parametrize(("damage", "sentence"), [("gone", "file is missing"), ("cut", "view main is truncated")])
def test_damaged_views(
    mistaken: Callable[..., str], corpus: Corpus, tmp_path: Path, damage: str, sentence: str
) -> None:
    other = tmp_path / "corpora" / damage
    shutil.copytree(corpus.folder, other)
    (view,) = (other / "views").iterdir()
    if damage == "gone":
        view.unlink()
    else:
        view.write_bytes(view.read_bytes()[:-4])
    assert sentence in mistaken("--corpus", str(other))


def test_corpora_of_two_feature_sets(
    run: Run, mistaken: Callable[..., str], corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = []
    for name, features in {"one": "openSMILE 2.3", "two": "openSMILE 3.0"}.items():
        folders.append(str(tmp_path / "corpora" / name))
        shutil.copytree(corpus.folder, folders[-1])
        file = Path(folders[-1], "manifest.json")
        manifest = {**json.loads(file.read_text()), "name": name, "synthetic": False}
        manifest["views"]["main"]["features"] = features
        file.write_text(json.dumps(manifest))
    assert run("--corpus", folders[0], "--systems", "other", "--seeds", "1") == 0
    capsys.readouterr()
    sentence = "--corpus two: its view main holds openSMILE 3.0, but that of one, with which"
    assert sentence in mistaken("--corpus", folders[1], "--systems", "other")
    assert sentence in mistaken("--corpus", folders[1], "--plan")


def test_results_that_are_not_this_studys(mistaken: Callable[..., str], tmp_path: Path) -> None:
    with Store("results", "other").locked():
        pass
    (tmp_path / "results" / "other").rename(tmp_path / "results" / "trial_study")
    assert "these are results of study other, not of trial_study." in mistaken()


def test_results_in_use(mistaken: Callable[..., str], tmp_path: Path) -> None:
    with another_run(tmp_path / "results", "trial_study"):
        assert "in use by another run" in mistaken()


def test_places_that_cannot_be_written(mistaken: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in ("file", "file/below"):
        assert "file: is a file where a folder is needed." in mistaken("--results", place)
        assert "file: is a file where a folder is needed." in mistaken("--reports", place)
    (tmp_path / "results" / "trial_study" / ".lock").mkdir(parents=True)
    assert "results/trial_study: cannot be written to (" in mistaken()


def test_buckets_that_are_not_there(s3_server: None, mistaken: Callable[..., str]) -> None:
    assert "cannot be reached (The specified bucket does not exist)." in mistaken("--results", "s3://no-such-bucket")


def test_plans_for_a_gpu_elsewhere(mistaken: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    cluster = ("--device", "cuda", "--address", "127.0.0.1:1")
    assert "costs are measured on this machine" in mistaken("--executor", "ray", "--plan", *cluster)
    assert "--device cuda: torch finds no GPU on this machine." in mistaken("--executor", "inline", *cluster)


def test_shares_of_gpus(mistaken: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    train = ("--executor", "train", "--device", "cuda", "--gpus-per-worker")
    for share in ("0", "2"):
        assert f"--gpus-per-worker {share}: a worker uses one GPU, or a part of one." in mistaken(*train, share)
    sentence = mistaken(*train, "0.5", "--workers-per-trial", "2")
    assert "--gpus-per-worker 0.5: the 2 workers of a trial need a GPU each." in sentence


def test_damage_inside_curves_is_found_and_mended(run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run() == 0
    report = contents(tmp_path / "reports")
    path = sorted((tmp_path / "results" / "trial_study" / "curves").iterdir())[0]
    content = bytearray(path.read_bytes())
    content[100:140] = bytes(byte ^ 255 for byte in content[100:140])
    path.write_bytes(content)
    capsys.readouterr()
    assert run() == 0
    shown = capsys.readouterr()
    assert f"{path.name}: cannot be read; moved to" in shown.err
    assert " 0 of them new" not in shown.out
    assert path.read_bytes() != bytes(content)
    assert contents(tmp_path / "reports") == report


def report_in(reports: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (reports / "trial_study").iterdir()}


def test_help_teaches(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    shown = capsys.readouterr().out
    assert "examples:" in shown
    assert "--max-minutes" in shown


def test_help_waits_for_no_library() -> None:
    code = "import sys; from affect import cli; cli._parser(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"torch", "ray", "optuna", "sklearn", "matplotlib"}.isdisjoint(done.stdout.split())


def test_a_plan_writes_nothing(run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run("--plan", "--seeds", "3") == 0
    shown = capsys.readouterr().out
    assert "9 trials to run now" not in shown
    assert "10 trials to run now, at most 6 after choices" in shown
    assert "With 3 seeds the smallest one-sided p of a paired test is 0.12." in shown
    assert "Against other: 3 declared comparisons per partition under Holm need 6 seeds" in shown
    assert not list(tmp_path.iterdir())
    assert run("--seeds", "3") == 0
    assert run("--plan", "--seeds", "3") == 0
    assert "0 trials to run now, at most 0 after choices: nothing left to run" in capsys.readouterr().out


def test_a_run_ends_with_its_table_and_is_repeatable(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run() == 0
    shown = capsys.readouterr().out
    assert "Report: reports/trial_study" in shown
    assert "| other" in shown
    report = report_in(tmp_path / "reports")
    assert run() == 0
    assert "0 of them new" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        cli.main(["report", "results/trial_study", "--reports", "again"])
    assert ended.value.code == 0
    assert report == report_in(tmp_path / "again")


def test_a_smaller_run_says_that_its_report_replaces_another(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    said = "This run's report replaces that of an earlier one (systems: 3, labels: 100 %, seeds: 2);"
    assert run() == 0
    assert run() == 0
    assert "replaces" not in capsys.readouterr().out
    assert run("--systems", "toy") == 0
    assert said in capsys.readouterr().out
    assert run() == 0
    assert "an earlier one (systems: 1, labels: 100 %, seeds: 2);" in capsys.readouterr().out


def test_failed_trials_are_told_by_the_exit_status(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--set", "fault=error", "--systems", "other") == 1
    shown = capsys.readouterr().out
    assert re.search(r"failed: other, labels 1, seed 0 \(trial \w{12}\): ArithmeticError", shown)
    assert "blocked:" not in shown, "where there is nothing to choose"


def test_choices_that_failed_trials_block_are_named(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--set", "fault=error", "--systems", "toy") == 1
    shown = capsys.readouterr().out
    failed = re.findall(r"failed: toy, labels 1, seed 0 \(trial (\w{12})\)", shown)
    blocked = re.findall(r"blocked: toy, labels 1, (\w+): no candidate is chosen while these fail: (.*)", shown)
    assert [target for target, _ in blocked] == ["arousal", "valence", "dominance"]
    assert {name for _, names in blocked for name in names.split(", ")} == set(failed)
    assert len(failed) == 6


def test_results_of_another_version_are_named(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("--systems", "other", "fixed") == 0
    report = ["report", "results/trial_study"]
    sentence = "other: there are results of version 1, which are not shown; it is at version 2 now."
    raised = tuple(replace(s, version=2) if s.name == "other" else s for s in engine_fakes.SYSTEMS)
    for systems, told in ((engine_fakes.SYSTEMS, False), (raised, True)):
        monkeypatch.setattr(engine_fakes, "SYSTEMS", systems)
        with pytest.raises(SystemExit) as ended:
            cli.main(report)
        assert ended.value.code == 0
        shown = capsys.readouterr().out
        assert (sentence in shown) == told
        assert "fixed: there are" not in shown


def test_every_protocol_has_a_report_and_a_line(
    run: Run, leaking: Corpus, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    options = ("--corpus", str(leaking.folder), "--systems", "other")

    def shown(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main([*arguments])
        return int(ended.value.code or 0), "".join(capsys.readouterr())

    report, status = ("report", "results/trial_study"), ("status", "results/trial_study")
    assert run(*options, "--protocol", "leak_free", "--allow", "rows_recur") == 0
    assert "Report: reports/trial_study/leaking-leak_free" in shown(*report, "--corpus", "leaking")[1]
    assert run(*options) == 0
    capsys.readouterr()
    sentence = f"{tmp_path}/results/trial_study: has several reports; add --corpus leaking|leaking+leak_free."
    assert shown(*report) == (2, f"affect: {sentence}\n")
    for name in ("leaking", "leaking+leak_free"):
        shutil.rmtree("reports")
        assert shown(*report, "--corpus", name)[0] == 0
        assert [folder.name for folder in Path("reports/trial_study").iterdir()] == [name.replace("+", "-")]
        assert re.search(rf"\W{re.escape(name)} +\W +\d", shown(*status)[1])
    listed = shown("results", "list")[1]
    for protocol in ("as_published", "leak_free"):
        assert re.search(rf"leaking +\W +{protocol} +\W +paper +\W +other +\W +1 +\W +complete +\W +2\b", listed)
    (tmp_path / "results/trial_study/requests/leaking.json").write_bytes(b"half")
    lines = shown(*status)[1]
    assert "requests/leaking.json: cannot be read" in lines
    assert re.search(r"\Wleaking\+leak_free +\W +\d", lines)
    assert shown(*report, "--corpus", "leaking+leak_free")[0] == 0


def test_results_can_be_listed_and_exported(run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run("--systems", "other")
    for arguments, code in (
        (["results", "list"], 0),
        (["results", "export", "results/trial_study", "--csv", "scores.csv"], 0),
        (["results", "export", "results/trial_study", "--csv", "scores.csv"], 2),
        (["results", "list", "nowhere"], 2),
        (["results", "export", "results/trial_study", "--csv", "missing/scores.csv"], 2),
        (["results", "list", "scores.csv"], 2),
        (["report", "nowhere"], 2),
        (["report", "results/trial_study", "--reports", "scores.csv"], 2),
        (["report", "results/trial_study", "--corpus", "other"], 2),
        (["fly"], 2),
    ):
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        assert ended.value.code == code
    shown = capsys.readouterr()
    assert "complete" in shown.out
    assert "scores.csv: exists already" in shown.err
    assert "missing/scores.csv: cannot be written" in shown.err
    assert "scores.csv: is a file where a folder is needed." in shown.err
    scores = pd.read_csv(tmp_path / "scores.csv")
    assert len(scores) == 2 * 3 * 3
    assert {"study", "system", "preset", "protocol", "partition", "fold", "target", "metric", "value", "seed"} <= set(
        scores
    )


def test_results_on_an_object_store(
    run: Run, s3_results: Results, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    stored = s3_results.uri, f"{s3_results.uri}/trial_study"
    assert run("--reports", "local") == 0
    assert run("--plan", "--results", stored[0]) == 0
    assert not s3_results.names("")
    assert run("--results", stored[0], "--reports", "remote") == 0
    shown = capsys.readouterr()
    assert f"trials in {stored[1]}, 12 of them new" in shown.out
    assert not shown.err
    assert run("--results", stored[0], "--reports", "remote") == 0
    assert run("--plan", "--results", stored[0]) == 0
    for arguments in (
        ["report", stored[1], "--reports", "again"],
        ["results", "list", stored[0]],
        ["results", "export", stored[1], "--csv", "scores.csv"],
    ):
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        assert ended.value.code == 0
    shown = capsys.readouterr()
    assert " 0 of them new" in shown.out
    assert "nothing left to run" in shown.out
    assert "trial_study" in shown.out
    local, *others = (report_in(tmp_path / name) for name in ("local", "remote", "again"))
    assert others == [local, local]
    assert len(pd.read_csv("scores.csv")) == len(s3_results.frame("trial_study/trials"))
