"""edgelr demo: the whole journey on real data that comes with a package."""

from __future__ import annotations

from edgelr.cli import options as o
from edgelr.cli.render import answer, teller

BUDGET = "60%KB"


def demo(out: o.Out = "edgelr-demo", budget: o.Budgets = None, force: o.Force = True, quiet: o.Quiet = False) -> None:
    """Train a small residual network on handwritten digits, compress it to a budget, write both files, measure, and report."""
    from edgelr.pipeline import Settings, parse_budget
    from edgelr.pipeline import compress as journey
    from edgelr.pipeline.demo import digits, trained
    from edgelr.report.terminal import show

    tell = teller(quiet)
    tell("training a residual network on scikit-learn's handwritten digits (1,797 images of 8x8)")
    data = digits(seed=0)
    model = trained(data, seed=0)
    settings = Settings(out=out, budgets=tuple(parse_budget(b) for b in budget or [BUDGET]), force=force)
    report = journey(settings, model=model, data=data, tell=tell, command="edgelr demo")
    show(report)
    answer(f"\nreport: {out.rstrip('/')}/report.html")
