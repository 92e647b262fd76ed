"""--scheme shared on the whole journey: chosen by group, told by layer, written once, loaded again."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from journey_sample import arrays
from shared_sample import GROUPS, residual

from edgelr import Data, Split, compress, load


def test_groups_share_factors_under_a_size_budget_and_the_run_s_folder_ties_them_again(tmp_path: Path) -> None:
    a = arrays()
    train, validation, test = (Split(a[f"x_{p}"], a[f"y_{p}"]) for p in ("train", "val", "test"))
    report = compress(
        residual(), Data(train, validation, test, calibration=train), out=str(tmp_path / "out"), budget="60%KB", schemes=("shared",),
        groups=tuple(",".join(members) for members in GROUPS.values()), method="additive", formats=("onnx",), score_samples=64,
        calibration_samples=64, allow_slower=True,
    )  # fmt: skip
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
