"""Keep the kernels that TensorRT for RTX compiled for this device between processes."""

from __future__ import annotations

import hashlib
import logging
import weakref
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files.atomic import atomic_path
from .cache import CACHE_WAIT_SECONDS, user_cache_folder
from .tensorrt_engine import TensorRtEngine

_LOG = logging.getLogger("trimf.tensorrt")


class KernelCache:
    """Kernels that TensorRT for RTX compiled for this device, stored in the user's cache folder between processes.

    Attributes:
        handle: The cache as an object of the library.
        save: Write the kernels to the cache folder; called again, it has no effect.
    """

    def __init__(self, engine: TensorRtEngine, content: bytes) -> None:
        """Load the kernels that an earlier process saved.

        Args:
            engine: The engine whose kernels are cached.
            content: Content of the engine file, which identifies it.

        Raises:
            BackendError: If the library cannot create a cache.
        """
        library = engine.library
        self._config = engine.handle.create_runtime_config()
        self.handle: Any = self._config.create_runtime_cache()
        engine.check_call(self.handle is not None, "create_runtime_cache")
        engine_sha256 = hashlib.sha256(content).hexdigest()
        path = user_cache_folder() / library.name / f"{engine_sha256}.{engine.device.target}.{library.version}"
        saved = path.read_bytes() if path.is_file() else b""
        if saved and not self.handle.deserialize(saved):
            _LOG.info("%s was saved with another driver or device; the kernels are compiled again", path)
        # Also saves if nobody closes the extractor: at the end of the process at the latest.
        self.save = weakref.finalize(self, _save_cache, self.handle, path, saved)


def _save_cache(cache: Any, path: Path, saved: bytes) -> None:
    """Save a cache that has changed; failure to write it only makes the next start slower."""
    content = bytes(cache.serialize() or b"")
    if content in (b"", saved):
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path, wait=CACHE_WAIT_SECONDS) as temporary:
            temporary.write_bytes(content)
    except (InputError, OSError) as error:
        _LOG.warning("%s: cannot save compiled kernels: %s", path, error)
