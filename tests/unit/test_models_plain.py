"""Layers of a user's own class become the plain torch layers that they amount to, and nothing else does."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgelr.models import fold_batch_norm, plain_layers, survey


class Same(nn.Conv2d):
    """"Same" padding with the odd zero after, as TensorFlow's and timm's."""

    def forward(self, x: Tensor) -> Tensor:
        pads = []
        for size, k, s in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max((-(-size // s) - 1) * s + k - size, 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, pads), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class Standardised(nn.Conv2d):
    """Its weight is computed: it is no plain convolution of its own weight."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight - self.weight.mean(), self.bias, self.stride, self.padding)


class Doubling(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias) * 2


class OwnLinear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        Same(3, 8, 3, 2, bias=False), nn.BatchNorm2d(8), nn.ReLU(), Same(8, 8, 3, groups=8), Same(8, 16, 1), Standardised(16, 4, 3),
        nn.Flatten(), OwnLinear(4, 6), Doubling(6, 5),
    ).eval()


def test_the_network_computes_the_same() -> None:
    model, x = net(), torch.randn(3, 3, 8, 9)
    model = nn.Sequential(*model[:5]).eval()
    plain = plain_layers(model, (3, 8, 9))
    assert torch.allclose(plain(x), model(x), atol=1e-6)
    assert torch.allclose(fold_batch_norm(plain, torch.zeros(2, 3, 8, 9))(x), model(x), atol=1e-5)


def test_only_layers_that_act_as_plain_ones_are_replaced() -> None:
    model = net()
    plain = plain_layers(model, (3, 6, 6))
    x = torch.randn(2, 3, 6, 6)
    assert torch.allclose(plain(x), model(x), atol=1e-6)
    kinds = {name: type(module) for name, module in plain.named_modules()}
    assert kinds["0"] is nn.Sequential and kinds["0.pad"] is nn.ZeroPad2d and kinds["0.conv"] is nn.Conv2d  # uneven padding at stride 2
    assert kinds["3"] is nn.Conv2d and plain[3].padding == (1, 1) and kinds["4"] is nn.Conv2d
    assert kinds["5"] is Standardised and kinds["7"] is nn.Linear and kinds["8"] is Doubling
    assert isinstance(model[0], Same)


def test_their_macs_are_counted_and_they_can_be_factorised() -> None:
    layers = {layer.name: layer for layer in survey(plain_layers(net(), (3, 6, 6)), torch.zeros(2, 3, 6, 6))}
    assert layers["0.conv"].macs == 8 * 3 * 9 * 3 * 3 and layers["0.conv"].schemes
    assert layers["5"].macs is None


def test_a_network_of_plain_layers_is_left_as_it_is() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    assert plain_layers(model, (3, 8, 8)) is model
