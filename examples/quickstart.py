"""Train a small network on handwritten digits, then compress it to half of its dense int8 size.

    python examples/quickstart.py

writes weights.safetensors, digits.npz and the folder out/ beside this file. The same from the command line, in that folder:

    edgelr compress net.py:digit_net --weights weights.safetensors --data digits.npz --budget 50%KB --allow-slower -o out --force
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from net import digit_net
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch.nn import functional as F

import edgelr

HERE = Path(__file__).parent


def main() -> None:
    torch.manual_seed(0)
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    x, y = (digits.images[:, None] / 16).astype(np.float32)[order], digits.target[order]
    parts = {"train": slice(0, 1000), "val": slice(1000, 1300), "test": slice(1300, None)}
    np.savez(HERE / "digits.npz", **{f"{axis}_{name}": v[part] for name, part in parts.items() for axis, v in (("x", x), ("y", y))})

    net = digit_net()
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(4):
        for batch in torch.randperm(1000).split(50):
            loss = F.cross_entropy(net(torch.from_numpy(x[batch])), torch.from_numpy(y[batch]))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    save_file(net.eval().state_dict(), HERE / "weights.safetensors")

    # Half the bytes is what is asked for here, so a slower network is accepted; leave allow_slower out where speed counts.
    report = edgelr.compress(net, str(HERE / "digits.npz"), budget="50%KB", out=HERE / "out", allow_slower=True, force=True, tell=print)
    for artifact in report.artifacts:
        print(f"{artifact.path}: {artifact.bytes:,} bytes, accuracy {artifact.score.value:.3f}")

    small = edgelr.load(HERE / "out", digit_net())  # plain torch layers again, ready for more training
    print(f"{sum(p.numel() for p in small.parameters()):,} parameters of {sum(p.numel() for p in net.parameters()):,}")


if __name__ == "__main__":
    main()
