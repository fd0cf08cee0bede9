"""Backends: the contract of a subgraph, and the libraries that run one on a CPU or a GPU."""
