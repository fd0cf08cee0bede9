"""Make, check and show bundles: ``trimf export``, ``compile``, ``verify`` and ``inspect``."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..cli_support import DATA, FILE, FOLDER, print_tables, print_to_stderr, reject_old_name, show_progress
from ..runtime.errors import BundleError
from ..runtime.extras import require_extra
from .options import THREADS

if TYPE_CHECKING:
    from ..runtime.bundle.manifest import Builder, Precision

_SHAPES = click.option(
    "--shapes",
    multiple=True,
    metavar="AXIS=MIN:OPT:MAX,…",
    help="Optimization profile, such as batch=1:8:16,subwords=3:32:128. Repeatable. "
    "Default: one profile for batch 1 and one for throughput.",
)
_SEPARATE = click.option(
    "--separate", is_flag=True, help="Also build the separate engines that a parser other than the model's own needs."
)
_WORKSPACE = click.option("--workspace", type=int, metavar="MB", help="Maximum device memory per layer, in MB.")
_COPY = click.option(
    "--output", type=FOLDER, help="Write a copy of the bundle to this folder instead of changing BUNDLE."
)
_OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace an existing folder --output.")


@click.command(short_help="Export a checkpoint to an ONNX bundle.")
@click.argument("checkpoint", type=FOLDER)
@click.option("--output", type=FOLDER, required=True, help="Bundle folder to write.")
@click.option("--fp16", "precisions", multiple=True, flag_value="fp16", help="Half precision, for GPUs.")
@click.option("--bf16", "precisions", multiple=True, flag_value="bf16", help="bfloat16, for GPUs from sm_80.")
@click.option("--int8", "precisions", multiple=True, flag_value="int8", help="Static int8 quantization, for CPUs.")
@click.option("--int8-qdq", "precisions", multiple=True, flag_value="int8-qdq", help="int8 (QDQ) and fp16, for GPUs.")
@click.option(
    "--calibration-data",
    type=FILE,
    help="Prepared file, or running text with offsets, that sets the activation ranges of --int8, --int8-qdq.",
)
@click.option(
    "--data",
    type=FILE,
    help="Prepared file, or running text with offsets, on which the bundle is compared with PyTorch.",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="SM",
    help="Also build a TensorRT-RTX engine for this GPU architecture, such as sm_89. Repeatable; needs no GPU.",
)
@_SHAPES
@_WORKSPACE
@_SEPARATE
@click.option("--explain", is_flag=True, help="Add the attention outputs that `trimf explain` needs.")
@click.option("--licence", default="not stated", show_default=True, help="Licence of the weights, for the model card.")
@click.option("--overwrite", is_flag=True, help="Replace an existing bundle.")
@click.option(
    "--accept-difference",
    is_flag=True,
    help="Write the bundle even if it exceeds limits of its precision, and record this in manifest and model card.",
)
@reject_old_name("--engine", "--target")
@reject_old_name("--calibrate", "--calibration-data")
def export(
    checkpoint: Path,
    output: Path,
    precisions: tuple[Precision, ...],
    calibration_data: Path | None,
    data: Path | None,
    targets: tuple[str, ...],
    shapes: tuple[str, ...],
    workspace: int | None,
    separate: bool,
    licence: str,
    explain: bool,
    overwrite: bool,
    accept_difference: bool,
) -> None:
    """Export CHECKPOINT to a bundle of four ONNX subgraphs (fp32 by default) and compare it with PyTorch.

    The export fails if the bundle differs from PyTorch by more than the limits of its precision, unless
    --accept-difference is given. Differences that are near ties of PyTorch are shown and do not fail.
    """
    if len(set(precisions)) > 1:
        raise click.UsageError(f"choose one precision, got --{' and --'.join(precisions)}")
    require_extra("train", "torch")
    require_extra("export", "onnxscript")
    _require_onnxruntime()
    from ..export.exporter import export_checkpoint
    from ..export.profiles import parse_profile
    from ..runtime.output.parity_tables import build_parity_tables

    with show_progress("exporting") as progress:
        manifest = export_checkpoint(
            checkpoint,
            output,
            precision=precisions[0] if precisions else "fp32",
            calibration_data=calibration_data,
            data=data,
            targets=targets,
            profiles=[parse_profile(text) for text in shapes],
            workspace_mb=workspace,
            separate=separate,
            licence=licence,
            explain=explain,
            overwrite=overwrite,
            accept_difference=accept_difference,
            log=print_to_stderr,
            on_report=lambda report: print_tables(*build_parity_tables(report)),
            on_progress=lambda engine, phase, done, steps: progress(f"{engine}: {phase}", done, steps),
        )
    size = sum(file.size for file in manifest.files.values())
    engines = f" with {len(manifest.engines)} engines" if manifest.engines else ""
    print_to_stderr(f"{output}: {manifest.precision} bundle of {size / 1e6:.1f} MB{engines}")


@click.command("compile", short_help="Build TensorRT engines and add them to a bundle.")
@click.argument("bundle")
@click.option(
    "--backend",
    type=click.Choice(["tensorrt", "tensorrt-rtx"]),
    default="tensorrt",
    show_default=True,
    help="Library that builds the engines.",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="SM",
    help="GPU architecture to build for, such as sm_89. Repeatable; needs --backend tensorrt-rtx. Default: this GPU.",
)
@_SHAPES
@_WORKSPACE
@_SEPARATE
@_COPY
@_OVERWRITE
def compile_(
    bundle: str,
    backend: Builder,
    targets: tuple[str, ...],
    shapes: tuple[str, ...],
    workspace: int | None,
    separate: bool,
    output: Path | None,
    overwrite: bool,
) -> None:
    """Build TensorRT engines of BUNDLE for the GPU of this machine, or for other GPUs, and add them to the bundle.

    Needs no PyTorch. The bundle `default` is part of the package and is not changed; give --output.
    """
    _check_copy_options(output, overwrite)
    from ..export.bundle_compiler import compile_bundle
    from ..export.profiles import parse_profile

    with show_progress("compiling") as progress:
        engines = compile_bundle(
            bundle,
            backend,
            targets=targets,
            profiles=[parse_profile(text) for text in shapes],
            workspace_mb=workspace,
            separate=separate,
            output=output,
            overwrite=overwrite,
            log=print_to_stderr,
            on_progress=lambda engine, phase, done, steps: progress(f"{engine}: {phase}", done, steps),
        )
    for engine in engines:
        print_to_stderr(f"{engine.file}: {engine.precision}, {engine.builder} {engine.version}")


@click.command(short_help="Compare a bundle with PyTorch or a reference run.")
@click.argument("bundle")
@click.option(
    "--against", type=FOLDER, metavar="CHECKPOINT", help="Compare with PyTorch. Default: an unoptimized CPU run."
)
@click.option("--data", type=DATA, help="Sentences to compare on, in any format that `trimf prepare` reads.")
@click.option("--backend", "backends", multiple=True, help="Backend to verify. Repeatable. Default: auto.")
@click.option("--batch-size", default=32, show_default=True, help="Sentences per batch.")
@THREADS
@click.option("--json", "as_json", is_flag=True, help="Print one JSON report per line instead of tables.")
@click.option("--save", is_flag=True, help="Store the report in the bundle, for `trimf inspect`.")
@click.option("--output", type=FOLDER, help="Store the report in a copy of the bundle, in this folder.")
@_OVERWRITE
def verify(
    bundle: str,
    against: Path | None,
    data: Path | None,
    backends: tuple[str, ...],
    batch_size: int,
    threads: int | None,
    as_json: bool,
    save: bool,
    output: Path | None,
    overwrite: bool,
) -> None:
    """Compare the results of BUNDLE on this machine with PyTorch, or with an unoptimized CPU run of its graphs.

    Fails if they differ by more than the limits of the bundle's precision. The bundle `default` is part of the package
    and is not changed; give --output instead of --save.
    """
    _check_copy_options(output, overwrite)
    import msgspec

    from ..export.bundle_writer import open_writable_bundle
    from ..export.verify import save_report, verify_bundle
    from ..runtime.output.parity_tables import build_parity_tables

    failures = []
    stored = save or output is not None
    with open_writable_bundle(bundle, output, overwrite=overwrite) if stored else nullcontext() as folder:
        for backend in backends or ("auto",):
            report = verify_bundle(
                bundle, backend=backend, against=against, data=data, threads=threads, batch_size=batch_size
            )
            if as_json:
                click.echo(msgspec.json.encode(report))
            else:
                print_tables(*build_parity_tables(report))
            if folder is not None:
                save_report(folder, report)
            if report.failure:
                failures.append(f"{report.backend}: {report.failure}")
    if failures:
        raise BundleError("; ".join(failures))


@click.command(short_help="Show what a bundle holds and check its files.")
@click.argument("bundle")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as JSON.")
def inspect(bundle: str, as_json: bool) -> None:
    """Show the labels, sizes, precision, parity report and files of BUNDLE, and check all hashes.

    BUNDLE is a folder, or `default`.
    """
    from ..runtime.bundle.reader import Bundle
    from ..runtime.output.bundle_tables import build_bundle_tables

    opened = Bundle(bundle)
    for name in opened.manifest.files:
        opened.read(name)
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(opened.manifest, order="sorted"))
    else:
        print_tables(build_bundle_tables(opened))


def _check_copy_options(output: Path | None, overwrite: bool) -> None:
    """Refuse ``--overwrite`` without ``--output``."""
    if overwrite and output is None:
        raise click.UsageError("--overwrite requires --output FOLDER")


def _require_onnxruntime() -> None:
    """Raise BackendError unless ONNX Runtime can be imported."""
    from ..runtime.engine import onnxruntime_library  # noqa: F401
