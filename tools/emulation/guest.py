"""Runs inside an emulated Python under ``armcount``: one call of each file between two getppid() marks.

    python guest.py RUNTIME cold|warm FIRST LAST

RUNTIME is litert or onnxruntime; the files are /job/FIRST to /job/LAST, without the last. Prints the number and the wait status of
each; why a runtime refused it is in /job/NUMBER.txt. Each file is run in a fork: what is counted doesn't depend on the files before it,
and one that ends its process ends nothing else. /job/warm is run before: what it let the emulator translate need not be translated in
each fork.
With ``cold`` the caches are emptied after a first call and the inputs written again: weights come from memory, inputs from a cache, as
inside a network. Without, the call before is left in the caches, as when a whole network runs again and again.
"""
from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

secrets.randbits = lambda bits: 1 << bits - 1  # NumPy seeds a generator with it: the size of that integer moved what was allocated later
import numpy as np  # noqa: E402


def values(shape, dtype, rng):
    """Values of the whole range of ``dtype``; 0 for 32-bit and 64-bit integers, which may be indices."""
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return rng.standard_normal(shape, dtype=np.float32).astype(dtype)
    if dtype.itemsize == 1 and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max, size=shape, endpoint=True, dtype=dtype)
    return np.zeros(shape, dtype)


def litert(path, rng):
    """How to write the inputs, and how to call."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    inputs = [(d["index"], values(d["shape"], d["dtype"], rng)) for d in interpreter.get_input_details()]

    def write():
        for index, x in inputs:
            interpreter.set_tensor(index, x)

    return write, interpreter.invoke


def onnxruntime(path, rng):
    """How to write the inputs, and how to call. Free dimensions are 1."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    kinds = {"tensor(float)": "f4", "tensor(float16)": "f2", "tensor(double)": "f8", "tensor(bool)": "?"}
    feed = {}
    for i in session.get_inputs():
        dtype = kinds.get(i.type) or i.type.removeprefix("tensor(").removesuffix(")")
        feed[i.name] = values([d if isinstance(d, int) else 1 for d in i.shape], dtype, rng)

    def write():
        for x in feed.values():
            x[...] = x.copy()

    return write, lambda: session.run(None, feed)


def count(start, path, cold):
    """One counted call of the file at ``path``."""
    empty, mark = os.getsid, os.getppid
    write, call = start(path, np.random.default_rng(0))
    write()
    call()
    empty(0)
    if cold:
        write()
    else:
        call()
    mark()
    call()
    mark()


def main():
    """The parent does the same for each file, whatever is in it: its forks begin alike."""
    start, cold = {"litert": litert, "onnxruntime": onnxruntime}[sys.argv[1]], sys.argv[2] == "cold"
    count(start, "/job/warm", cold)
    for number in range(int(sys.argv[3]), int(sys.argv[4])):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                count(start, f"/job/{number}", cold)
                code = 0
            except Exception as error:
                Path(f"/job/{number}.txt").write_text(str(error), "utf-8")
            finally:
                os._exit(code)
        os.write(1, b"%d %d\n" % (number, os.waitpid(child, 0)[1]))


if __name__ == "__main__":
    main()
