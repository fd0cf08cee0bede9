"""Locate the folder that keeps compiled kernels, engines and timings between processes."""

from __future__ import annotations

from pathlib import Path

import platformdirs

#: Seconds to wait while another process writes the same file of a cache.
CACHE_WAIT_SECONDS = 60.0


def user_cache_folder() -> Path:
    """Return the folder of TriMF's caches, which need not exist.

    It is ``trimf`` in the user's cache folder of the operating system: ``$XDG_CACHE_HOME`` on Linux, or ``~/.cache`` if
    the variable is not set; ``~/Library/Caches`` on macOS; on Windows it is ``trimf\\Cache`` in the local application
    data. A relative path in ``XDG_CACHE_HOME`` is ignored: the caches hold machine code, which must not come from
    whatever folder the process runs in.

    Raises:
        RuntimeError: If the user has no home folder.
    """
    folder = platformdirs.user_cache_path("trimf", appauthor=False)
    # Releases of platformdirs before September 2026 take a relative path as it is.
    return folder if folder.is_absolute() else Path.home() / ".cache" / "trimf"
