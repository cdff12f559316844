"""Generative systems and bad input: one sentence each, when planning where the sizes tell, or before the first step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from affect.data.task import Inputs
from affect.errors import UserError
from affect.systems import get_system
from affect.systems.base import Replicate, resolve_settings
from affect.systems.shards import Shard
from affect.systems.training import facts_of
from tests.systems.problems import facts
from tests.systems.toy import class_data, toy_data


@pytest.mark.parametrize(
    ("name", "settings", "widths", "message"),
    [
        ("M2", {"hidden": "100-x"}, (3, 2), "M2: hidden=100-x is not a list of widths such as 100-50."),
        ("M2", {"hidden": "100-0"}, (3, 2), "M2: hidden=100-0 is not a list of widths such as 100-50."),
        ("SiMVAE", {"incomplete": "3"}, (3, 2), "SiMVAE: incomplete=3 does not name some of the 2 views."),
        ("SDGM+", {"incomplete": "all"}, (3, 2), "SDGM+: incomplete=all leaves no view that is never missing."),
        ("SiMVAE", {}, (4,), "SiMVAE fills in a view from the others, but there is one view only."),
        ("SDGM+", {}, (4,), "SDGM+ fills in a view from the others, but there is one view only."),
        *(
            (name, {}, (4,), f"{name} fuses views, but there is one view only; M2 is made for one.")
            for name in ("MVAE", "SMVAE", "MoPoE-VAE")
        ),
        ("M2", {"latent": 51}, (3, 2), "M2: latent=51 is more dimensions than there are rows, 50."),
        ("SDGM", {"auxiliary": 51}, (3, 2), "SDGM: auxiliary=51 is more dimensions than there are rows, 50."),
        ("CoNet", {"latent": 51}, (3, 2), "CoNet: latent=51 is more dimensions than there are rows, 50."),
        ("M2", {"inputs_latent": 51}, (3, 2), "M2: inputs_latent=51 is more dimensions than there are rows, 50."),
        ("MAE+SVM", {"latent": 51}, (3, 2), "MAE+SVM: latent=51 is more dimensions than there are rows, 50."),
        (
            "CorrNet",
            {"imputer_latent": 51},
            (3, 2),
            "CorrNet: imputer_latent=51 is more dimensions than there are rows, 50.",
        ),
        ("SMVAE", {"latent": 51}, (3, 2), "SMVAE: latent=51 is more dimensions than there are rows, 50."),
    ],
)
def test_what_planning_refuses(name, settings, widths, message):
    system = get_system(name)
    preset = "author_code" if "author_code" in system.presets else "paper"
    with pytest.raises(UserError) as refused:
        system.structure(resolve_settings(system, preset, settings), facts(widths))
    assert str(refused.value) == message


def test_targets_without_classes_are_refused():
    system = get_system("SMVAE")
    with pytest.raises(UserError, match=r"^SMVAE tells classes apart; arousal, valence, dominance has none\.$"):
        system.structure(resolve_settings(system, "paper"), facts_of(toy_data(0)))


def _lacking(*cells, shape=(240, 2)):
    """A mask in which (rows, view) are missing."""
    present = np.ones(shape, bool)
    for rows, view in cells:
        present[rows, view] = False
    return present


@pytest.mark.parametrize(("size", "refused"), [(21, False), (22, True)])
def test_more_workers_than_rows_of_a_batch(size, refused):
    system, data = get_system("MTL"), toy_data(0, labelled=63)
    replicates = [Replicate(data, resolve_settings(system, "paper", {"batch_size": 21, "width": 8}), 0)]
    if not refused:
        system.begin(replicates, device="cpu", shard=Shard(0, size))
        return
    with pytest.raises(UserError, match=r"^--workers-per-trial 22: batches have 21 labelled rows"):
        system.begin(replicates, device="cpu", shard=Shard(0, size))


EVERY, SOME = slice(None), slice(10, 30)


@pytest.mark.parametrize(
    ("name", "present", "message"),
    [
        ("SMVAE", _lacking(shape=(240, 3)), "SMVAE: missing views are given as [240, 3] for 240 rows of 2 views."),
        ("M2", _lacking(shape=(200, 2)), "M2: missing views are given as [200, 2] for 240 rows of 2 views."),
        ("SMVAE", _lacking((SOME, 0), (SOME, 1)), "SMVAE: 20 of 240 training rows have no view at all."),
        ("MoPoE-VAE", _lacking((EVERY, 1)), "MoPoE-VAE: no training row has view 2; leave the view out."),
        (
            "SiMVAE",
            _lacking((SOME, 0)),
            "SiMVAE: 20 training rows lack view 1, which incomplete=last does not name.",
        ),
        ("SDGM+", _lacking((SOME, 0)), "SDGM+: 20 training rows lack view 1, which incomplete=last does not name."),
    ],
)
def test_masks_that_contradict_the_data_are_refused(name, present, message):
    data = class_data(0)
    assert _refusal(name, replace(data, train=replace(data.train, present=present))) == message


def test_views_of_unequal_length_are_refused():
    data = class_data(0)
    first, second = data.train.arrays
    uneven = Inputs((first, second[:-1]), data.train.rows, data.train.mean, data.train.scale)
    message = "SMVAE: the views have 340 and 339 rows, but a row is one sample in all."
    assert _refusal("SMVAE", replace(data, train=uneven)) == message


def test_a_class_without_a_label_is_refused():
    data = class_data(0)
    one = np.zeros_like(data.y_labelled)
    message = "M2: none of the 30 labelled rows is of class 1 of emotion."
    assert _refusal("M2", replace(data, y_labelled=one)) == message


def _refusal(name, data):
    system = get_system(name)
    settings = resolve_settings(system, "paper", {"epochs": 1, "hidden": "4", "latent": 2})
    with pytest.raises(UserError) as refused:
        system.begin([Replicate(class_data(1), settings, 1), Replicate(data, settings, 0)], device="cpu")
    return str(refused.value)


def test_rows_that_lack_what_the_setting_names_are_accepted():
    data = class_data(0)
    system = get_system("SiMVAE")
    settings = resolve_settings(system, "paper", {"epochs": 1, "hidden": "4", "latent": 2, "incomplete": "all"})
    present = _lacking((SOME, 0), (slice(40, 60), 1))
    fitting = system.begin(
        [Replicate(replace(data, train=replace(data.train, present=present)), settings, 0)], device="cpu"
    )
    fitting.advance()
    assert fitting.fits()[0].status == "complete"
