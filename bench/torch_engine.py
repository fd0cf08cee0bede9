"""A checkpoint in PyTorch, eager or compiled, behind the runtime's pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..runtime.errors import BackendError, line
from .engines import Opened, Run
from .spec import Spec

#: The steps of the model that are compiled, its encoder among the first.
STEPS = ("encode", "fuse", "entity_logits", "relation_logits")


def open_checkpoint(spec: Spec) -> Opened:
    """The checkpoint's pipeline, on the device that ``spec.backend`` names ("cpu" or "cuda").

    Raises:
        BundleError: it is no checkpoint.
        BackendError: PyTorch is not installed, has no such device, or cannot compile here.
    """
    try:
        import torch

        from trimf_train import checkpoint as checkpoints
        from trimf_train import inference
    except ModuleNotFoundError as error:
        raise BackendError(f'a checkpoint needs {error.name}; pip install "trimf[train]"') from error
    torch.set_num_threads(spec.threads)
    on_gpu = spec.backend != "cpu"
    if on_gpu and not torch.cuda.is_available():
        raise BackendError("PyTorch here has no CUDA device; measure the checkpoint with --backend cpu")
    checkpoint = checkpoints.load(Path(spec.path))
    model = checkpoint.model.to("cuda" if on_gpu else "cpu")
    pipeline = inference.pipeline(checkpoint)
    encoder: Any = model.encoder
    if spec.engine == "compile":
        encoder = torch.compile(model.encoder, dynamic=True)
        for step in STEPS:
            setattr(model, step, torch.compile(getattr(model, step), dynamic=True))

    def wait(_: Any) -> None:
        if on_gpu:
            torch.cuda.synchronize()

    def plain() -> Run:
        def run(arrays: Mapping[str, Any]) -> None:
            place = next(model.parameters()).device
            ids, mask = (torch.as_tensor(arrays[name]).to(place) for name in ("input_ids", "attention_mask"))
            with torch.inference_mode():
                encoder(input_ids=ids, attention_mask=mask)
            wait(None)

        return run

    compiled = _Compiled()
    name = torch.cuda.get_device_name() if on_gpu else None
    return Opened(pipeline, spec.backend, f"PyTorch {torch.__version__}", name, False, plain, wait, compiled.settled)


class _Compiled:
    """How many graphs PyTorch has compiled."""

    def __init__(self) -> None:
        self._count = 0

    def settled(self) -> bool:
        """Whether that is as many as when it was last asked."""
        import torch._dynamo.utils

        before, self._count = self._count, sum(torch._dynamo.utils.counters["stats"].values())
        return before == self._count


def missing_compiler(backend: str) -> str | None:
    """Why ``torch.compile`` does not work for a backend's device, or None where it does."""
    try:
        from trimf_train import compiler
    except ModuleNotFoundError as error:
        return line(error)
    return compiler.missing_compiler("cpu" if backend == "cpu" else "cuda")
