"""The ladder study from end to end on the twins of the two folded corpora: little is trained, and all is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from affect.command import main
from tests.test_studies import study_of

FEW = ("--seeds", "1", "--systems", "STL", "Lad+L+MTL", "ridge", "--executor", "inline", "--device", "cpu")
SMALL = ("--set", "epochs=1", "width=8", "alpha=0.3", "beta=0.3")


@pytest.mark.parametrize("twin", ["iemocap-twin-demo", "improv-twin-demo"])
def test_the_ladder_study_runs_on_the_twins_of_folded_corpora(
    twin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(study_of("ladder_ablation"), ["--corpus", twin, *FEW, *SMALL])
    assert not ended.value.code
    assert "synthetic" in capsys.readouterr().out.lower()
    report = tmp_path / "reports" / "ladder_ablation" / twin
    for name in ("report.md", "report.html", "table1.md", "values.csv"):
        assert (report / name).is_file(), name
    text = (report / "report.md").read_text(encoding="utf-8")
    assert twin in text
    assert "synthetic" in text.lower()
    for row in ("STL", "Lad+L+MTL", "ridge"):
        assert row in (report / "table1.md").read_text(encoding="utf-8")
