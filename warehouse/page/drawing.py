"""Lays out the artefact graph of a run from top to bottom, for drawing it as SVG.

Owns the layout: layers by longest path, and fewer crossings by sorting nodes by the mean place of their neighbours.
Long edges pass through invisible nodes in the layers between, so that they do not cross boxes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from warehouse.lineage import Edge

BOX_WIDTH, BOX_HEIGHT = 164, 56
_PASSAGE = 22  # width of the invisible node of a passing edge
_GAP_X, _GAP_Y, _MARGIN = 24, 44, 6
_SWEEPS = 12
_ROUNDS = 300


@dataclass(frozen=True)
class Box:
    """An artefact in the drawing; x and y are its upper left corner in pixels."""

    fingerprint: str
    stage: str
    num_rows: int | None
    action: str | None
    x: float
    y: float


@dataclass(frozen=True)
class Line:
    """An edge in the drawing, as an SVG path from an input's lower side to an artefact's upper side."""

    path: str
    role: str
    source: str
    target: str


@dataclass(frozen=True)
class Drawing:
    """The laid-out graph in pixels."""

    width: float
    height: float
    boxes: list[Box]
    lines: list[Line]


def draw_lineage(artefacts: Mapping[str, dict], edges: Sequence[Edge]) -> Drawing:
    """Lay out artefacts {fingerprint: {stage, num_rows, action}} and their edges."""
    edges = [edge for edge in edges if edge.fingerprint in artefacts and edge.input_fingerprint in artefacts]
    depth = _find_depths(artefacts, edges)
    chains = {edge: _find_chain(edge, depth) for edge in edges}
    layers = _make_layers(depth, chains)
    x = _place(_order(layers, chains))
    width = max((x[node] + _width(node) / 2 for layer in layers for node in layer), default=0) + _MARGIN
    top = {node: _MARGIN + number * (BOX_HEIGHT + _GAP_Y) for number, layer in enumerate(layers) for node in layer}
    boxes = [
        Box(name, str(fact["stage"] or "?"), fact["num_rows"], fact["action"], x[name] - BOX_WIDTH / 2, top[name])
        for name, fact in artefacts.items()
    ]
    lines = [
        Line(_write_path(chain, x, top), edge.role, edge.input_fingerprint, edge.fingerprint)
        for edge, chain in chains.items()
    ]
    return Drawing(width, 2 * _MARGIN + len(layers) * (BOX_HEIGHT + _GAP_Y) - _GAP_Y, boxes, lines)


def _find_depths(artefacts: Mapping[str, dict], edges: Sequence[Edge]) -> dict[str, int]:
    """Return each artefact's layer: below all its inputs, and just above the first artefact that uses it."""
    depth = dict.fromkeys(artefacts, 0)
    for _ in artefacts:  # longest path: this many rounds reach any depth, and end even if the graph has a cycle
        for edge in edges:
            depth[edge.fingerprint] = max(depth[edge.fingerprint], depth[edge.input_fingerprint] + 1)
    for _ in artefacts:
        for name in artefacts:
            users = [depth[edge.fingerprint] for edge in edges if edge.input_fingerprint == name]
            depth[name] = max(depth[name], min(users) - 1) if users else depth[name]
    return depth


def _find_chain(edge: Edge, depth: Mapping[str, int]) -> list[str]:
    """Return the nodes that an edge goes through, from input to artefact, one in each layer."""
    between = range(depth[edge.input_fingerprint] + 1, depth[edge.fingerprint])
    # Edges from one input share their passages: a bundle is easier to follow than a fan.
    return [edge.input_fingerprint, *(f"~{edge.input_fingerprint}:{layer}" for layer in between), edge.fingerprint]


def _make_layers(depth: Mapping[str, int], chains: Mapping[Edge, list[str]]) -> list[list[str]]:
    layers: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name in depth:
        layers[depth[name]].append(name)
    for chain in chains.values():
        for number, node in enumerate(chain[1:-1], start=depth[chain[0]] + 1):
            if node not in layers[number]:
                layers[number].append(node)
    return layers


def _order(layers: list[list[str]], chains: Mapping[Edge, list[str]]) -> tuple[list[list[str]], dict, dict]:
    """Sort each layer by the mean place of its neighbours, above and below in turn; also return the neighbours."""
    above, below = defaultdict(set), defaultdict(set)
    for chain in chains.values():
        for upper, lower in pairwise(chain):
            above[lower].add(upper)
            below[upper].add(lower)
    for sweep in range(_SWEEPS):
        downwards = sweep % 2 == 0
        neighbours = above if downwards else below
        for number in range(len(layers)) if downwards else reversed(range(len(layers))):
            place = {node: index / max(len(layer) - 1, 1) for layer in layers for index, node in enumerate(layer)}
            layers[number].sort(key=lambda node, place=place, near=neighbours: _find_middle(node, near[node], place))
    return layers, above, below


def _find_middle(node: str, neighbours: set[str], place: Mapping[str, float]) -> float:
    return sum(place[name] for name in neighbours) / len(neighbours) if neighbours else place[node]


def _pull(node: str, neighbours: set[str], x: Mapping[str, float]) -> float:
    """Return the weighted mean x of the neighbours; passages attract each other most, to keep long edges straight."""
    weights = {name: (1, 3, 9)[node.startswith("~") + name.startswith("~")] for name in neighbours}
    return sum(x[name] * weight for name, weight in weights.items()) / sum(weights.values()) if weights else x[node]


def _place(ordered: tuple[list[list[str]], dict, dict]) -> dict[str, float]:
    """Return the x of each node's centre: near its neighbours, without overlapping the node beside it."""
    layers, above, below = ordered
    x: dict[str, float] = {}
    for layer in layers:
        edge = 0.0
        for node in layer:
            x[node] = edge + _width(node) / 2
            edge += _width(node) + _GAP_X
    for _ in range(_ROUNDS):
        for layer in layers:
            _move_towards(layer, {node: _pull(node, above[node] | below[node], x) for node in layer}, x)
    left = min((x[node] - _width(node) / 2 for node in x), default=0)
    return {node: value - left + _MARGIN for node, value in x.items()}


def _move_towards(layer: list[str], wish: Mapping[str, float], x: dict[str, float]) -> None:
    """Move a layer's nodes towards their wished x, keeping order and gaps: the mean of a push to the right and left."""
    right, left = {}, {}
    edge = float("-inf")
    for node in layer:
        right[node] = max(wish[node], edge + _width(node) / 2)
        edge = right[node] + _width(node) / 2 + _GAP_X
    edge = float("inf")
    for node in reversed(layer):
        left[node] = min(wish[node], edge - _width(node) / 2)
        edge = left[node] - _width(node) / 2 - _GAP_X
    for node in layer:
        x[node] = (right[node] + left[node]) / 2


def _width(node: str) -> float:
    return _PASSAGE if node.startswith("~") else BOX_WIDTH


def _write_path(chain: Sequence[str], x: Mapping[str, float], top: Mapping[str, float]) -> str:
    """Write the path of an edge, with soft bends between the layers and straight through the passages."""
    parts = []
    for upper, lower in pairwise(chain):
        start, end = top[upper] + BOX_HEIGHT, top[lower]
        middle = (start + end) / 2
        parts.append(f"{'L' if parts else 'M'}{x[upper]:.1f} {start:.1f}")
        parts.append(f"C{x[upper]:.1f} {middle:.1f} {x[lower]:.1f} {middle:.1f} {x[lower]:.1f} {end:.1f}")
    return " ".join(parts)
