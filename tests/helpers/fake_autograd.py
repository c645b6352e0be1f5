"""The backward pass of fake tensors: autograd's engine requires a real device, so its graph is walked here instead.

The operators of the backward pass are the real ones, called with fake tensors: a gradient on the wrong device or of a
wrong type fails, and so does an operator that would read a value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

CUDA = torch.device('cuda', 0)
Gradients = list[Tensor | None]


def check(what: str, found: torch.device | torch.dtype, expected: torch.device | torch.dtype) -> None:
    """Raise a RuntimeError that names both, if they differ; of devices, the index does not matter."""
    if getattr(found, 'type', found) != getattr(expected, 'type', expected):
        raise RuntimeError(f'{what}: is {found}, expected {expected}')


def backward(loss: Tensor, *_: Any, **__: Any) -> None:
    """In place of ``Tensor.backward``."""
    check('loss', loss.device, CUDA)
    check('loss', loss.dtype, torch.float32)
    if loss.grad_fn is None:
        raise RuntimeError('loss: does not require a gradient')
    with torch.no_grad():
        for node, gradients in walked([loss]).items():
            if hasattr(node, 'variable') and gradients[0] is not None:
                leaf = node.variable
                check('parameter', leaf.device, CUDA)
                leaf.grad = gradients[0] if leaf.grad is None else leaf.grad + gradients[0]


def grad(outputs: Any, inputs: Any, *_: Any, create_graph: bool = False, **__: Any) -> tuple[Tensor | None, ...]:
    """In place of ``torch.autograd.grad``."""
    outputs, inputs = (value if isinstance(value, (list, tuple)) else [value] for value in (outputs, inputs))
    with torch.set_grad_enabled(create_graph):
        found = walked(outputs)
    edges = [torch.autograd.graph.get_gradient_edge(value) for value in inputs]
    return tuple(found[edge.node][edge.output_nr] if edge.node in found else None for edge in edges)


def walked(outputs: Sequence[Tensor]) -> dict[Any, Gradients]:
    """The gradient of the sum of ``outputs`` at all nodes of their graph, by the number of the node's output; a leaf is
    a node with the attribute ``variable``."""
    edges = [torch.autograd.graph.get_gradient_edge(output) for output in outputs]
    waiting_for = uses([edge.node for edge in edges])
    found: dict[Any, Gradients] = {}
    for edge, output in zip(edges, outputs, strict=True):
        add(found, edge.node, edge.output_nr, torch.ones_like(output))
    ready = [node for node in dict.fromkeys(edge.node for edge in edges) if not waiting_for[node]]
    while ready:
        node = ready.pop()
        results: Any = () if hasattr(node, 'variable') else called(node, found.get(node))
        for (following, number), result in zip(node.next_functions, results, strict=False):
            if following is not None:
                add(found, following, number, result)
                waiting_for[following] -= 1
                if not waiting_for[following]:
                    ready.append(following)
    return found


def uses(roots: Sequence[Any]) -> Counter[Any]:
    """How often each node is a next one, in the graph of these."""
    counts: Counter[Any] = Counter()
    waiting, seen = list(roots), set(roots)
    while waiting:
        for following, _ in waiting.pop().next_functions:
            if following is not None:
                counts[following] += 1
                if following not in seen:
                    seen.add(following)
                    waiting.append(following)
    return counts


def called(node: Any, gradients: Gradients | None) -> tuple[Tensor | None, ...]:
    """What a node of the graph makes of its gradients."""
    if gradients is None or all(gradient is None for gradient in gradients):
        return (None,) * len(node.next_functions)
    results = getattr(node, 'apply', node)(*gradients)  # a function of Python's, or torch's
    return results if isinstance(results, tuple) else (results,)


def add(found: dict[Any, Gradients], node: Any, number: int, gradient: Tensor | None) -> None:
    """Accumulate the gradient of an output of a node, in the shape and type of that output, as the engine does."""
    metadata = node._input_metadata
    sums = found.setdefault(node, [None] * len(metadata))
    if gradient is None:
        return
    check('gradient', gradient.device, metadata[number].device)
    if list(gradient.shape) != list(metadata[number].shape):
        gradient = gradient.sum_to_size(metadata[number].shape)
    gradient, before = gradient.to(metadata[number].dtype), sums[number]
    sums[number] = gradient if before is None else before + gradient
