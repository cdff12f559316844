"""Every command of the README is run, at a size that fits a test; nothing in it may go stale."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

from tests.data import podcast_release, test_deap, test_iemocap, test_msp_improv, test_seed
from tests.data.speech_trees import write_features, write_tree
from tests.engine.helpers import completed

ROOT, BIN = Path(__file__).parents[1], Path(sys.executable).parent
DATA = ROOT.parent / "shared" / "data"
SMALL = ["--seeds", "1", "--systems", "STL", "MTL", "ridge", "--set", "epochs=1", "width=8", "alpha=0.3", "beta=0.3"]
SMALL_OF = {
    "studies/smvae_label_fractions.py": ["--seeds", "1", "--systems", "SMVAE", "logistic", "--set", "epochs=1"],
    "studies/simvae_missing_views.py": ["--seeds", "1", "--systems", "SiMVAE", "--set", "epochs=1"],
}
SMALL_SEARCH = ["--systems", "MTL", "--search", "3", "--set", "epochs=2", "width=8"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def commands() -> list[list[str]]:
    lines = "\n".join(blocks("bash")).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


@dataclass(frozen=True)
class Shell:
    """Runs commands in a folder, most of them in this process, where the next need not load everything anew."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def script(self, path: str | Path, *words: str) -> str:
        """What a script says, which must succeed."""
        self.monkeypatch.chdir(self.folder)
        self.monkeypatch.setattr(sys, "argv", [str(path), *words])
        status: object = None
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as ended:
            status = ended.code
        said, complaint = self.capsys.readouterr()
        assert not status, f"{shlex.join(sys.argv)}\n{said}\n{complaint}"
        return said

    def process(self, *words: str, **options: Any) -> str:
        """What a command says, which must succeed."""
        done = completed(words, **({"cwd": self.folder} | options))
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def shell(workplace, monkeypatch, capsys) -> Shell:
    monkeypatch.setenv("PATH", f"{BIN}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return Shell(workplace, monkeypatch, capsys)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder that looks like a checkout with somebody's own table in it."""
    folder = tmp_path_factory.mktemp("readme") / "affect"
    (folder / "my").mkdir(parents=True)
    (folder / "studies").symlink_to(ROOT / "studies")
    (folder / "reports").mkdir()
    g = np.random.default_rng(0)
    n = 90
    frame = pd.DataFrame(g.uniform(1, 7, (n, 3)), columns=["act", "val", "dom"])
    frame.insert(0, "clip", [f"clip{i}" for i in range(n)])
    frame["split"] = np.repeat(["train", "dev", "test"], n // 3)
    frame["speaker"] = [f"s{i // 10}" for i in range(n)]
    frame.to_csv(folder / "my" / "samples.csv", index=False)
    people = frame[["clip", "split"]].assign(
        mood=["low", "high"] * (n // 2), eeg_a=g.normal(size=n), eeg_b=g.normal(size=n)
    )
    people.to_csv(folder / "my" / "people.csv", index=False)
    frame[["clip", "act", "val"]][5:].to_csv(folder / "my" / "eye.csv", index=False)
    recordings = [file.stem for file in sorted(DATA.glob("ravdess_sample/*.wav"))]
    shares = {"clip": recordings, "split": [("train", "dev", "test")[i % 3] for i in range(len(recordings))], "act": 4}
    pd.DataFrame(shares).to_csv(folder / "my" / "clips.csv", index=False)
    np.save(folder / "my" / "features.npy", g.standard_normal((n, 5)).astype(np.float32))
    write_releases(folder.parent, folder / "my" / "compare")
    return folder


def write_releases(root: Path, features: Path) -> None:
    """Small releases of the corpora under licence, and features of their clips."""
    write_tree(root / "MSP-PODCAST", podcast_release.CSV_FILES)
    write_tree(root / "IEMOCAP_full_release", test_iemocap.FILES)
    write_tree(root / "MSP-IMPROV", {"Evalution.txt": test_msp_improv.TEXT})
    write_features(features, [*podcast_release.CLIPS, *test_iemocap.TURNS, *test_msp_improv.CLIPS])
    test_seed.write_multimodal(root / "SEED_Multimodal" / "Chinese", [1, 2])
    (root / "DEAP").mkdir()
    for subject in (1, 2):
        arrays = {"data": test_deap.signals(subject, 3), "labels": test_deap.labels_of(test_deap.RATINGS[:3])}
        savemat(root / "DEAP" / f"s{subject:02d}.mat", arrays)


@pytest.mark.skipif(not DATA.exists(), reason="needs the open corpora beside the project")
def test_the_commands_run_in_their_order(shell):
    seen = []
    for words in commands():
        seen.append(" ".join(words[:2]))
        if words[0] == "make":
            shell.process("make", "--dry-run", *words[1:], cwd=ROOT)
        elif any(word.startswith(("/shared/", "s3://")) for word in words):
            continue  # needs a cluster or a bucket: tests/engine has them
        elif "train" in words:
            continue  # the same in tests/engine/test_default_executor.py
        elif "--search" in words:
            shell.process(*words, *SMALL_SEARCH)
        elif words[0] == "python":
            executor = [] if {"--plan", "--executor"} & set(words) else ["--executor", "inline"]
            shell.script(words[1], *words[2:], *SMALL_OF.get(words[1], SMALL), *executor)
        else:
            few = ["--subjects", "1", "2"] if words[2:3] in (["seed"], ["deap"]) else []
            words = [*(word.replace("../shared/data", str(DATA)) for word in words), *few]
            if "wav" in words:  # starts a Ray
                shell.process(*words)
            else:
                shell.script(BIN / words[0], *words[1:])
    for command in (
        "affect prepare",
        "affect report",
        "affect results",
        "affect status",
        "affect corpora",
        "python studies/ladder_ablation.py",
    ):
        assert command in seen
    assert len(list(shell.folder.glob("reports/ladder_hyperparameters/search-qcc-MTL-0.1-*/report.html"))) == 1
    assert (shell.folder / "reports/again/ladder_ablation/qcc/table1.md").exists()
    for code in blocks("python"):
        assert "arousal" in shell.process("python", "-c", code)


def test_links_and_pictures_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or (ROOT / target).exists(), target
