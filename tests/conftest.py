"""Random inputs are the same in every run, so that a failure can be repeated; EXPLORE=1 draws new ones."""

import os

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True)
if not os.environ.get("EXPLORE"):
    settings.load_profile("repeatable")
