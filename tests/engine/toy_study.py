"""A study script over the toy systems, run as a program by the tests of crashes."""

from __future__ import annotations

import sys

from affect.command import main
from affect.study import Mark, Row, Scale, Search, Study, Table
from tests.engine import engine_fakes
from tests.engine.helpers import GRID

STUDY = Study(
    name="toys",
    title="Toys",
    paper="none",
    targets=("arousal", "valence", "dominance"),
    metric="ccc",
    scales={"demo": Scale("tiny", (Row("other"), Row("toy", GRID), Row("fixed", floor=True)), 6)},
    marks=(Mark("*", "other"),),
    tables=(Table("table_1", "Table 1", "nowhere"),),
    searches=(Search("climb", engine_fakes.climbs, rungs=(3, 6), refits=2, refit_seeds=2, control=True),),
)

if __name__ == "__main__":
    engine_fakes.install()
    if {"ray", "train"} & set(sys.argv):
        engine_fakes.start_ray()
    main(STUDY)
