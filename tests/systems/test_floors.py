"""Floor rows reach what their estimators are known to reach, on open corpora with the released splits.

Test CCC with all labels, valence, arousal and dominance, as studies get it: the penalty is picked on development data.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from affect.data.corpus import AS_PUBLISHED, Corpus
from affect.data.readers.emobank import prepare_emobank
from affect.data.readers.qcc import prepare_qcc
from affect.data.task import Task
from affect.stats.concordance import ccc, ccc_columns
from affect.systems import floors, get_system
from affect.systems.base import Fit, Replicate, fit_pack
from affect.systems.process import settle
from affect.trial import TaskSpec
from tests.systems.toy import TARGETS, text_data, toy_data

ORDER = ("valence", "arousal", "dominance")
TOLERANCE = 0.02


def fitted(name: str, data) -> Fit:
    (fit,) = fit_pack(get_system(name), [Replicate(data, {}, 0)], device="cpu")
    return fit


def floor(corpus: Corpus, name: str) -> list[float]:
    """Test CCC per target of the system `name`, as a study would get it."""
    view = corpus.usable_views(AS_PUBLISHED)[0]
    task = Task(corpus, TaskSpec(corpus.manifest.fingerprint, view, ORDER, "ccc", AS_PUBLISHED, 1.0))
    fit = fitted(name, task.fit_data(0))
    test = task.parts(0)[-1]
    assert test.name == "test"
    return ccc_columns(test.targets, fit.predict(test.inputs)).tolist()


@pytest.fixture(scope="module")
def shared() -> Path:
    folder = Path(__file__).parents[2].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the open corpora are not beside the project")
    settle("cpu")
    return folder


@pytest.fixture(scope="module")
def emobank(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return prepare_emobank(shared / "emobank", tmp_path_factory.mktemp("floors") / "emobank")


@pytest.fixture(scope="module")
def qcc(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return prepare_qcc(shared / "qcc_speech_vad", tmp_path_factory.mktemp("floors") / "qcc")


@pytest.mark.data
def test_tfidf_ridge_on_emobank(emobank):
    """The .454 .214 .150 that were to be reached are exceeded: development data pick a weak penalty."""
    assert floor(emobank, "tfidf_ridge") == pytest.approx([0.484, 0.242, 0.171], abs=TOLERANCE)


@pytest.mark.data
def test_ridge_on_emobank(emobank):
    assert floor(emobank, "ridge") == pytest.approx([0.26, 0.17, 0.13], abs=TOLERANCE)


@pytest.mark.data
def test_ridge_on_qcc(qcc):
    assert floor(qcc, "ridge") == pytest.approx([0.365, 0.594, 0.636], abs=TOLERANCE)


@pytest.mark.data
def test_svr_on_qcc(qcc, monkeypatch):
    monkeypatch.setattr(floors, "COSTS", (1.0,))  # Which development data pick; the others would take a minute.
    assert floor(qcc, "svr") == pytest.approx([0.557, 0.698, 0.746], abs=TOLERANCE)


def test_svr_is_that_of_scikit_learn_on_the_columns():
    from sklearn.svm import SVR

    data = toy_data(0)
    x = data.train.numpy(data.labelled)
    development = data.development.numpy(None)
    predicted = fitted("svr", data).predict(data.development)
    for t in range(len(TARGETS)):
        mean, std = data.target_mean[t], data.target_std[t]
        y = (data.y_labelled[:, t] - mean) / std
        due = [SVR(C=cost).fit(x, y).predict(development) * std + mean for cost in floors.COSTS]
        best = max(due, key=lambda found: ccc(data.y_development[:, t], found))
        assert predicted[:, t] == pytest.approx(best, abs=1e-9)


def test_tfidf_ridge_reads_the_text_and_nothing_else():
    data = text_data()
    fit = fitted("tfidf_ridge", data)
    predicted = fit.predict(data.development)
    assert fit.status == "complete"
    assert fit.epochs == dict.fromkeys(TARGETS, 0)
    assert predicted.shape == (len(data.development), 3)
    assert (ccc_columns(data.y_development, predicted) > 0.98).all()


def test_a_search_can_judge_an_estimator():
    data = toy_data(0)
    fitting = get_system("ridge").begin([Replicate(data, {}, 0)] * 2, device="cpu")
    fitting.advance()
    best = fitting.best()
    predicted = fitting.fits()[0].predict(data.development)
    assert best.shape == (2, len(data.targets))
    for t in range(len(data.targets)):
        assert best[0, t] == pytest.approx(ccc(data.y_development[:, t], predicted[:, t]))
    fitting.stop([1])
    assert [fit.status for fit in fitting.fits()] == ["complete", "stopped"]
