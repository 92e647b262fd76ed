"""How costs are told to the user."""
from __future__ import annotations


def tell(kind: str, value: float) -> str:
    """A cost in the user's terms: ``us:litert`` 12300 becomes "12.3 ms on litert"."""
    name, _, where = kind.partition(":")
    if name == "us":
        return f"{value / 1000:.4g} ms" + (f" on {where}" if where else "")
    if name == "bytes":
        return (f"{value / 1000:,.1f} KB" if abs(value) >= 1000 else f"{value:.0f} bytes") + (f" as .{where}" if where else "")
    words = {"params": "parameters", "macs": "MACs"}
    return f"{value:,.0f} {words[name]}" if name in words else f"{value:.6g} of {kind}"
