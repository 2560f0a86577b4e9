"""The candidate tree: which candidate came from which, laid out left to right, the winner's line on top."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from engine.record import CandidateLine
from engine.report.charts import picture
from engine.report.svg import element
from engine.report.words import NONE, score

COLUMN, ROW = 152.0, 31.0
BOX_WIDTH, BOX_HEIGHT = 112.0, 23.0
MARGIN = 8.0
# About a screen and a half of rows; above it, refused leaves would hide what was accepted.
FOLD_ABOVE = 60
REFUSED = ("rejected", "guarded")
LABEL_CHARS = 9


@dataclass(frozen=True)
class Node:
    """A drawn candidate: ``column`` is its distance from the roots, ``row`` counts from the top.

    ``parents`` are the labels of those that are drawn. ``folded`` is 0, or how many refused candidates this node
    stands for; ``on_path`` is true for the winner and everything it descends from.
    """

    candidate: CandidateLine
    parents: tuple[str, ...]
    column: int
    row: int
    on_path: bool = False
    folded: int = 0


def lineage(candidates: Sequence[CandidateLine], winner: str | None) -> set[str]:
    """Give the labels of the winner and of all it descends from; empty without a winner.

    >>> def line(label, *parents):
    ...     return CandidateLine(label, label, parents, "gepa", 1, "accepted", "", "")
    >>> sorted(lineage([line("seed"), line("a", "seed"), line("b", "seed"), line("c", "a")], "c"))
    ['a', 'c', 'seed']
    """
    found = {winner} if winner else set()
    # Parents stand before their children, so one pass from the end meets every ancestor after its descendants.
    for candidate in reversed(candidates):
        if candidate.label in found:
            found.update(candidate.parents)
    return found & {candidate.label for candidate in candidates}


def layout(candidates: Sequence[CandidateLine], winner: str | None, *, fold_above: int = FOLD_ABOVE) -> list[Node]:
    """Place every candidate so that no two share a place and children stand right of all their parents.

    ``candidates`` are in the order they were made; a parent that is unknown or comes later is left out. Each stands in
    or below the row of its first parent. Above ``fold_above`` candidates, the refused
    ones without children become one node for each parent.
    """
    path = lineage(candidates, winner)
    nodes: dict[str, Node] = {}
    for candidate in candidates:
        parents = tuple(p for p in dict.fromkeys(candidate.parents) if p in nodes)
        column = 1 + max((nodes[p].column for p in parents), default=-1)
        nodes[candidate.label] = Node(candidate, parents, column, 0, candidate.label in path)
    if len(nodes) > fold_above:
        nodes = _folded(nodes)
    return _rows(nodes)


def _folded(nodes: dict[str, Node]) -> dict[str, Node]:
    """Replace refused nodes without children by one for each first parent that has at least two."""
    with_children = {parent for node in nodes.values() for parent in node.parents}
    groups: dict[str, list[str]] = {}
    for label, node in nodes.items():
        if node.candidate.status in REFUSED and label not in with_children and node.parents and not node.on_path:
            groups.setdefault(node.parents[0], []).append(label)
    kept = dict(nodes)
    for parent, labels in groups.items():
        if len(labels) > 1:
            first = nodes[labels[0]]
            for label in labels:
                del kept[label]
            kept[labels[0]] = replace(first, parents=(parent,), column=nodes[parent].column + 1, folded=len(labels))
    return kept


def _rows(nodes: dict[str, Node]) -> list[Node]:
    """Pack each column from the top, parents before their children, so that no two edges to first parents cross."""
    children: dict[str | None, list[str]] = {}
    for label, node in nodes.items():
        children.setdefault(node.parents[0] if node.parents else None, []).append(label)
    for labels in children.values():
        # The winner's line first, the folded last, otherwise as they were made.
        labels.sort(key=lambda label: (not nodes[label].on_path, nodes[label].folded > 0))
    placed: dict[str, Node] = {}
    free: dict[int, int] = {}
    stack = children.get(None, [])[::-1]
    while stack:
        node = nodes[stack.pop()]
        parent = placed[node.parents[0]] if node.parents else None
        # A child further right than the next column needs its row free on the way, for its edge.
        columns = range(parent.column + 1 if parent else 0, node.column + 1)
        row = max([parent.row if parent else 0, *(free.get(column, 0) for column in columns)])
        free.update(dict.fromkeys(columns, row + 1))
        placed[node.candidate.label] = replace(node, row=row)
        stack += children.get(node.candidate.label, [])[::-1]
    return list(placed.values())


def tree_chart(candidates: Sequence[CandidateLine], winner: str | None) -> Markup:
    """Draw the tree; a node links to the row ``#candidate-LABEL`` of the table of candidates."""
    nodes = layout(candidates, winner)
    if not nodes:
        return Markup("")
    placed = {node.candidate.label: node for node in nodes}
    width = MARGIN * 2 + max(node.column for node in nodes) * COLUMN + BOX_WIDTH
    height = MARGIN * 2 + max(node.row for node in nodes) * ROW + BOX_HEIGHT
    edges = [_edge(placed[parent], node, first=at == 0) for node in nodes for at, parent in enumerate(node.parents)]
    boxes = [_box(node, won=node.candidate.label == winner) for node in nodes]
    # Edges of the path are drawn last, or a grey one that leaves the same parent would cover them.
    ordered = sorted(edges, key=lambda edge: 'class="edge path"' in edge)
    return picture(f"Candidate tree: {len(candidates)} candidates", width, height, [*ordered, *boxes], role="group")


def _corner(node: Node) -> tuple[float, float]:
    return MARGIN + node.column * COLUMN, MARGIN + node.row * ROW


def _edge(parent: Node, child: Node, *, first: bool) -> Markup:
    x, y = _corner(parent)
    to_x, to_y = _corner(child)
    x, y, to_y = x + BOX_WIDTH, y + BOX_HEIGHT / 2, to_y + BOX_HEIGHT / 2
    turn = x + COLUMN - BOX_WIDTH
    # All bends lie in the gap behind the parent's column; along the child's own row nothing is in the way.
    bend = (x + turn) / 2
    kind = "edge path" if parent.on_path and child.on_path else "edge" if first else "edge second"
    return element(
        "path",
        class_=kind,
        d=f"M{x:.1f},{y:.1f} C{bend:.1f},{y:.1f} {bend:.1f},{to_y:.1f} {turn:.1f},{to_y:.1f} H{to_x:.1f}",
    )


def _box(node: Node, *, won: bool) -> Markup:
    x, y = _corner(node)
    line = node.candidate
    kinds = ["node", line.status if line.status in {"seed", "accepted", *REFUSED} else "rejected"]
    kinds += ["path"] * node.on_path + ["won"] * won + ["folded"] * (node.folded > 0)
    rect = element("rect", x=x, y=y, width=BOX_WIDTH, height=BOX_HEIGHT, rx=4)
    middle = {"x": x + BOX_WIDTH / 2, "y": y + BOX_HEIGHT / 2 + 4, "text_anchor": "middle"}
    if node.folded:
        text = element("text", f"{node.folded} refused", **middle)
        title = f"{node.folded} candidates from {node.parents[0]} were rejected or guarded; see the table"
        return element("g", element("title", title), rect, text, class_=" ".join(kinds))
    label = line.label if len(line.label) <= LABEL_CHARS else f"{line.label[: LABEL_CHARS - 1]}…"
    value = score(line.val_score)
    text = element("text", f"{label}  {value}" if value != NONE else label, **middle)
    role = f"the winner, {line.status}" if won else line.status
    title = f"{line.label}: {role}, step {line.step}, val score {value}. {line.reason}"
    return element("a", element("title", title), rect, text, class_=" ".join(kinds), href=f"#candidate-{line.label}")
