"""Shares of the nodes and operators of a profiled subgraph in the time of all its nodes."""

from __future__ import annotations

from typing import NamedTuple

from .schema import Profile, ProfiledNode, SubgraphProfile

#: Nodes and operators that are listed one by one; the others are listed together.
MAX_ROWS = 10
#: ONNX Runtime's provider that runs what the others cannot run.
CPU_PROVIDER = "CPUExecutionProvider"


class NodeShare(NamedTuple):
    """A node and its share, from 0 to 1, in the time of all nodes."""

    node: ProfiledNode
    share: float


class OperatorShare(NamedTuple):
    """All nodes of an operator.

    Attributes:
        operator: Name of the operator; empty if the library did not tell it.
        nodes: Number of its nodes.
        mean: Their time per run in microseconds.
        share: Their share in the time of all nodes.
    """

    operator: str
    nodes: int
    mean: float
    share: float


class NodeShares(NamedTuple):
    """Shares in the time of a subgraph's nodes.

    Attributes:
        mean: Time of all nodes per run in microseconds.
        slowest: The ``MAX_ROWS`` nodes that take most time.
        rest: All other nodes together; None if there are none.
        operators: The ``MAX_ROWS`` operators that take most time.
        other_operators: All other operators together; None if there are none.
    """

    mean: float
    slowest: list[NodeShare]
    rest: OperatorShare | None
    operators: list[OperatorShare]
    other_operators: OperatorShare | None


def compute_node_shares(profile: SubgraphProfile) -> NodeShares:
    """Compute the shares of a subgraph's nodes.

    Args:
        profile: The subgraph.
    """
    total = sum(node.mean for node in profile.nodes)

    def combine(name: str, nodes: list[ProfiledNode]) -> OperatorShare:
        mean = sum(node.mean for node in nodes)
        return OperatorShare(name, len(nodes), mean, _divide(mean, total))

    nodes = sorted(profile.nodes, key=lambda node: -node.mean)
    by_operator: dict[str, list[ProfiledNode]] = {}
    for node in nodes:
        by_operator.setdefault(node.operator, []).append(node)
    operators = sorted((combine(*entry) for entry in by_operator.items()), key=lambda entry: -entry.mean)
    others = [node for entry in operators[MAX_ROWS:] for node in by_operator[entry.operator]]
    return NodeShares(
        total,
        [NodeShare(node, _divide(node.mean, total)) for node in nodes[:MAX_ROWS]],
        combine(f"{len(nodes) - MAX_ROWS} other nodes", nodes[MAX_ROWS:]) if nodes[MAX_ROWS:] else None,
        operators[:MAX_ROWS],
        combine(f"{len(operators) - MAX_ROWS} other operators", others) if others else None,
    )


def count_cpu_nodes(profile: Profile, subgraph: SubgraphProfile) -> int | None:
    """Count the nodes that run on the CPU provider of ONNX Runtime although another was requested.

    Args:
        profile: The profile.
        subgraph: A subgraph of the profile.

    Returns:
        The number; None if the CPU was requested.
    """
    if profile.backend == "cpu":
        return None
    return sum(node.provider == CPU_PROVIDER for node in subgraph.nodes)


def _divide(part: float, total: float) -> float:
    return part / total if total else 0.0
