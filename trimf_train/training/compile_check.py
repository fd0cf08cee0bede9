"""Check that ``torch.compile`` works: it needs a C++ compiler for the CPU and Triton for a GPU."""

from __future__ import annotations

import torch

from trimf.runtime.errors import one_line


def find_compile_problem(device: str) -> str | None:
    """Compile a small function to find out why ``torch.compile`` does not work on a device.

    The first call for a device takes seconds.

    Args:
        device: Device type, ``cpu`` or ``cuda``.

    Returns:
        The reason on one line, or None if ``torch.compile`` works.
    """
    try:
        torch.compile(lambda values: values * 2 + 1)(torch.ones(3, device=device))
    except Exception as error:  # each compiler has its own types of errors
        return one_line(error)
    return None
