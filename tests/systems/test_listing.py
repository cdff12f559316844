"""`affect systems`: what can be fitted, and what can be set of it."""

from __future__ import annotations

import pytest

from affect.cli import main
from affect.systems import registry


def said(capsys: pytest.CaptureFixture, *words: str) -> tuple[object, str]:
    with pytest.raises(SystemExit) as ended:
        main(["systems", *words])
    out, err = capsys.readouterr()
    return ended.value.code, out + err


def test_all_systems_are_listed(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    status, text = said(capsys)
    assert not status
    for name, system in registry().items():
        assert name in text
        assert system.description in text


@pytest.mark.parametrize("name", registry())
def test_the_settings_of_a_system_are_explained(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    status, text = said(capsys, name)
    assert not status
    lines = {cells[1].strip(): line for line in text.splitlines() if len(cells := line.split("│")) > 2}
    for setting, hyperparameter in registry()[name].hyperparameters.items():
        line = lines[setting]
        assert str(hyperparameter.default) in line
        assert hyperparameter.admissible in line
        assert hyperparameter.help, f"{setting} is explained nowhere"


def test_an_unknown_system_is_refused(capsys):
    status, text = said(capsys, "nobody")
    assert status == 2
    assert "Unknown system nobody; known systems are STL" in text
