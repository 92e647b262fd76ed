"""Run as a program: a saved network and its calibration samples to int8 .tflite, by litert-torch and litert-quantizer."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgelr.export.stock.job import exported, main, samples


def convert(folder: Path) -> bytes:
    """Float .tflite with channels-last input and output, true min-max ranges, then int8 throughout."""
    import litert_torch
    import torch
    from litert_quantizer import quantizer, recipe
    from torch import Tensor, nn

    class Network(nn.Module):  # an exported program's module can't be put into eval mode, which the converter does
        def __init__(self) -> None:
            super().__init__()
            self.inner = exported(folder).module()

        def forward(self, x: Tensor) -> Any:
            return self.inner(x)

        def train(self, mode: bool = True) -> Network:
            return self

    first = torch.from_numpy(next(samples(folder)))
    network: nn.Module = Network()
    if first.dim() == 4:
        network = litert_torch.to_channel_last_io(network, args=[0])
        first = first.permute(0, 2, 3, 1).contiguous()
    path = folder / "float.tflite"
    litert_torch.convert(network, (first,)).export(str(path))
    int8 = recipe.static_wi8_ai8()
    ranges = _ranges(path, folder, int8)
    result = quantizer.Quantizer(str(path), int8).quantize(ranges, enable_progress_report=False)
    return inlined(bytes(result.quantized_model))


def _ranges(path: Path, folder: Path, int8: Any) -> Any:
    """True min-max of every tensor: the library's own moving average clips, and was 10-15 dB worse (measured on ResNet-20)."""
    from ai_edge_litert.interpreter import Interpreter
    from litert_quantizer import calibrator, recipe_manager
    from litert_quantizer.utils import qsv_utils

    interpreter = Interpreter(str(path))
    signature = next(iter(interpreter.get_signature_list()))
    details = interpreter.get_signature_runner(signature).get_input_details()
    (key,), (shape,) = details, (d["shape"] for d in details.values())
    recipes = recipe_manager.RecipeManager()
    recipes.load_quantization_recipe(int8)
    watcher = calibrator.Calibrator(str(path), num_threads=1, qsv_update_func=qsv_utils.min_max_update)
    last = len(shape) == 4
    data = [{key: np.ascontiguousarray(np.moveaxis(s, 1, -1) if last else s)} for s in samples(folder)]
    watcher.calibrate({signature: data}, recipes)
    return watcher.get_model_qsvs()


def inlined(data: bytes) -> bytes:
    """The file with its large constants inside the flatbuffer, where every reader of the format looks for them.

    litert-quantizer keeps them behind it (Buffer.offset and size).
    """
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(data))
    for buffer in model.buffers:
        if buffer.offset and buffer.offset > 1:
            buffer.data = np.frombuffer(data, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


if __name__ == "__main__":
    main(convert)
