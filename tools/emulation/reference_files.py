"""Reference networks as files, written as edgelr writes its own drafts: made-up scales, right shapes."""
from __future__ import annotations

from functools import lru_cache

from networks import REFERENCES

from edgelr.graph import Graph, capture
from edgelr.pipeline.files import draft
from edgelr.pipeline.precision import Form, Policy, Precision
from edgelr.vocabulary import Format


@lru_cache(maxsize=1)
def graph_of(network: str) -> Graph:
    reference = REFERENCES[network]
    return capture(reference.model(), (3, reference.size, reference.size))


def file_of(network: str, numbers: Policy, format: Format = "tflite") -> bytes:
    """The same bytes each time."""
    return draft(graph_of(network), (format,), Precision({format: Form(numbers)}))[format]
