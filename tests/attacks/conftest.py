"""The inputs of a run, as files."""

from __future__ import annotations

from pathlib import Path

import pytest
from journey_sample import write_inputs


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("inputs"))
