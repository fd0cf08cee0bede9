"""Run a checkpoint in PyTorch, eager or compiled, in the runtime's pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...runtime.errors import BackendError, one_line
from ...runtime.extras import require_extra
from .jobs import Job
from .loaded_model import EncoderRunner, LoadedModel

#: Methods of the model that are compiled; "encode_subwords" includes the encoder.
COMPILED_METHODS = ("encode_subwords", "pool_to_words", "fuse_graphs", "entity_logits", "relation_logits")


def open_checkpoint(job: Job) -> LoadedModel:
    """Load a checkpoint.

    Args:
        job: The job; ``job.backend`` is the device, "cpu" or "cuda".

    Returns:
        The loaded model.

    Raises:
        BundleError: The folder is not a checkpoint.
        BackendError: PyTorch is not installed or has no such device.
    """
    require_extra("train", "torch", "transformers", "safetensors", purpose="running a checkpoint")
    import torch

    from trimf_train.evaluation import model_loading

    on_gpu = job.backend != "cpu"
    if on_gpu and not torch.cuda.is_available():
        raise BackendError("PyTorch finds no CUDA device; benchmark the checkpoint with --backend cpu")
    checkpoint, pipeline = model_loading.open_checkpoint(job.path, job.threads, "cuda" if on_gpu else "cpu")
    model = checkpoint.model
    encoder: Any = model.encoder
    if job.engine == "compile":
        encoder = torch.compile(model.encoder, dynamic=True)
        for step in COMPILED_METHODS:
            setattr(model, step, torch.compile(getattr(model, step), dynamic=True))

    def wait(_: Any) -> None:
        if on_gpu:
            torch.cuda.synchronize()

    def load_plain_encoder() -> EncoderRunner:
        def run(arrays: Mapping[str, Any]) -> None:
            device = next(model.parameters()).device
            ids, mask = (torch.as_tensor(arrays[name]).to(device) for name in ("input_ids", "attention_mask"))
            with torch.inference_mode():
                encoder(input_ids=ids, attention_mask=mask)
            wait(None)

        return run

    counter = _CompilationCounter()
    name = torch.cuda.get_device_name() if on_gpu else None
    return LoadedModel(
        pipeline, job.backend, f"PyTorch {torch.__version__}", name, False, load_plain_encoder, wait, counter.settled
    )


class _CompilationCounter:
    """Counter of the graphs that PyTorch has compiled."""

    def __init__(self) -> None:
        self._count = 0

    def settled(self) -> bool:
        """Return whether nothing was compiled since the last call."""
        import torch._dynamo.utils

        before, self._count = self._count, sum(torch._dynamo.utils.counters["stats"].values())
        return before == self._count


def explain_missing_compiler(backend: str) -> str | None:
    """Return why ``torch.compile`` does not work here, or None if it does.

    Args:
        backend: "cpu", or any other backend for a GPU.
    """
    try:
        from trimf_train.training import compile_check as compiler
    except ModuleNotFoundError as error:
        return one_line(error)
    return compiler.find_compile_problem("cpu" if backend == "cpu" else "cuda")
