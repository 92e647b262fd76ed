"""Run as a program: a saved network and its calibration samples to int8 .onnx, by torch.onnx and ONNX Runtime's quantiser."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgelr.export.stock.job import exported, main, samples

OPSET = 20


def convert(folder: Path) -> bytes:
    """Float .onnx, its means over all places as pooling, then QDQ: u8 activations, s8 weights per channel, min-max ranges."""
    import onnx
    import torch
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    paths = [folder / name for name in ("float.onnx", "ready.onnx", "int8.onnx")]
    program = torch.onnx.export(exported(folder), dynamo=True, opset_version=OPSET, verbose=False)
    assert program is not None
    _pool(program.model)
    program.save(str(paths[0]))
    quant_pre_process(str(paths[0]), str(paths[1]))
    name = onnx.load(paths[1]).graph.input[0].name

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.samples: Iterator[Any] = samples(folder)

        def get_next(self) -> dict[str, Any] | None:
            sample = next(self.samples, None)
            return None if sample is None else {name: sample}

    quantize_static(str(paths[1]), str(paths[2]), Reader(), quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8, per_channel=True, calibrate_method=CalibrationMethod.MinMax)
    return paths[2].read_bytes()


def _pool(model: Any) -> None:
    """ReduceMean over height and width to GlobalAveragePool: ONNX Runtime has int8 for the second only."""
    for node in model.graph:
        if node.op_type != "ReduceMean" or len(node.inputs) != 2 or node.inputs[1].const_value is None:
            continue
        keep = node.attributes.get("keepdims")
        axes = sorted(int(a) for a in node.inputs[1].const_value.numpy())
        if axes in ([2, 3], [-2, -1]) and (keep is None or keep.as_int() == 1):
            node.op_type = "GlobalAveragePool"
            node.resize_inputs(1)
            node.attributes.clear()


if __name__ == "__main__":
    main(convert)
