"""Whether PyTorch can compile here: it needs a C++ compiler for a CPU, Triton for a GPU."""

from __future__ import annotations

import torch

from trimf.runtime.errors import line


def missing_compiler(device: str) -> str | None:
    """Why ``torch.compile`` does not work for a device (``cpu``, ``cuda``), or None where it does.

    A small function is compiled, which takes seconds the first time.
    """
    try:
        torch.compile(lambda values: values * 2 + 1)(torch.ones(3, device=device))
    except Exception as error:  # compilers fail in every way
        return line(error)
    return None
