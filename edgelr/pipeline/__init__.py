"""The pipeline: everything from a named network and a budget to files and a report."""

from edgelr.pipeline.budgets import parse_budget
from edgelr.pipeline.journey import compress
from edgelr.pipeline.load import load
from edgelr.pipeline.settings import Settings

__all__ = ["Settings", "compress", "load", "parse_budget"]
