"""--scheme shared on the whole journey: chosen by group, told by layer, written once, loaded again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from journey_sample import arrays
from shared_sample import GROUPS, residual

from edgelr import Data, Split, compress, load
from edgelr.errors import UsageError

JOB: dict[str, Any] = {
    "budget": "60%KB", "schemes": ("shared",), "groups": tuple(",".join(members) for members in GROUPS.values()), "method": "additive",
    "formats": ("onnx",), "score_samples": 64, "calibration_samples": 64, "allow_slower": True,
}  # fmt: skip


def data() -> tuple[Data, dict[str, Any]]:
    a = arrays()
    train, validation, test = (Split(a[f"x_{p}"], a[f"y_{p}"]) for p in ("train", "val", "test"))
    return Data(train, validation, test, calibration=train), a


def test_groups_share_factors_under_a_size_budget_and_the_run_s_folder_ties_them_again(tmp_path: Path) -> None:
    given, a = data()
    report = compress(residual(), given, out=str(tmp_path / "out"), **JOB)
    assert report.met
    shared = {line.name: line for line in report.layers if line.share}
    assert set(shared) in ({*GROUPS["blocks.0-2.conv1"]}, {*GROUPS["blocks.0-2.conv2"]}, {n for m in GROUPS.values() for n in m})
    for group, members in GROUPS.items():
        told = {(line.scheme, line.rank, line.share) for name, line in shared.items() if name in members}
        assert len(told) <= 1 and all(share.endswith(f"of {group}") for _, _, share in told)
        assert all("together" in line.why for name, line in shared.items() if name in members)
    json.loads((tmp_path / "out" / "report.json").read_text())
    net = load(tmp_path / "out", residual())
    assert sum(p.numel() for p in net.parameters()) == report.stages[-1].params
    named = dict(net.named_parameters(remove_duplicate=False))
    assert len(named) > len(dict(net.named_parameters()))
    with torch.no_grad():
        agree = (net(torch.from_numpy(a["x_test"])).argmax(1) == torch.from_numpy(a["y_test"])).float().mean()
    assert float(agree) > report.artifacts[0].score.value - 0.03


def test_bsr_trains_groups_towards_the_factor_that_they_will_have_in_common(tmp_path: Path) -> None:
    given, _ = data()
    report = compress(residual(), given, out=str(tmp_path / "out"), train="bsr", epochs=4, **JOB)
    assert report.met and any(line.share for line in report.layers)
    assert [s.recipe for s in report.training_stages] == ["bsr", "finetune"]
    scores = {s.name: s.score.value for s in report.stages if s.score is not None}
    assert scores["trained"] >= scores["factorized"]
    net = load(tmp_path / "out", residual())
    assert len(dict(net.named_parameters(remove_duplicate=False))) > len(dict(net.named_parameters()))


@pytest.mark.parametrize("recipe", ["lc", "lrpet", "rank-tuning"])
def test_recipes_that_give_each_matrix_a_rank_of_its_own_refuse_groups(recipe: str) -> None:
    given, _ = data()
    with pytest.raises(UsageError, match="doesn't train towards shared factors"):
        compress(residual(), given, train=recipe, **JOB)
