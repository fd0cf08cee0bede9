"""The model card that lies in every bundle, written from its manifest."""

from __future__ import annotations

from typing import Any

from ..runtime.manifest import Manifest


def card(manifest: Manifest) -> str:
    """Markdown: what the model finds, what it was trained on, how it scored, its licence and its limits."""
    labels, provenance = manifest.labels, manifest.provenance
    lines = [
        f"# TriMF on {manifest.encoder}",
        "",
        f"Finds entities ({', '.join(labels.entities)}) and relations ({', '.join(labels.relations)}) in English text,",
        "with the trigger words behind each relation. Made by `trimf export`.",
        "",
        "| | |",
        "|---|---|",
        f"| encoder | {manifest.encoder}, {manifest.sizes.hidden} wide |",
        f"| precision | {manifest.precision}, ONNX opset {manifest.opset} |",
        f"| dependency parser | {manifest.parser} |",
        f"| spans | up to {manifest.sizes.max_span} words |",
        f"| licence | {manifest.licence} |",
        "",
        "## Training",
        "",
        *_training(provenance),
        "",
        "## Scores",
        "",
        *_scores(manifest),
        "",
        "## Limits",
        "",
        "- It knows the labels above and the kind of text it was trained on; on other text expect less.",
        f"- Entities longer than {manifest.sizes.max_span} words and relations across sentences are not found.",
        "- Trigger words are the model's own weights, not an annotation of causes.",
        "- Names of people come out of such a model; what may be done with them is a matter of law and of care.",
        "",
    ]
    return "\n".join(lines)


def _training(provenance: dict[str, Any]) -> list[str]:
    files = [f"- data: `{name}` (SHA-256 {digest[:16]}…)" for name, digest in provenance.get("train", {}).items()]
    settings = provenance.get("config", {}).get("train", {})
    command = [f"- command: `{provenance['command']}`"] if provenance.get("command") else []
    details = [
        f"- seed {provenance.get('seed')}, best epoch {provenance.get('epoch')} by relation strict F1 on dev",
        f"- batch {settings.get('batch_size')}, peak learning rates {settings.get('lr')} (encoder) and "
        f"{settings.get('head_lr') or settings.get('lr')} (the rest)",
    ]
    return files + command + details


def _scores(manifest: Manifest) -> list[str]:
    rows = ["| data | entity F1 | relation strict F1 |", "|---|---|---|"]
    if dev := manifest.provenance.get("dev"):
        entity, relation = dev["entities"]["micro"]["f1"], dev["relations"]["strict"]["micro"]["f1"]
        rows.append(f"| dev, PyTorch | {entity:.2f} | {relation:.2f} |")
    extractions = manifest.parity.get("extractions", {})
    for key, name in (("reference", "PyTorch"), ("exported", f"this bundle ({manifest.precision})")):
        if scores := extractions.get(key):
            rows.append(
                f"| {extractions['data']}, {extractions['sentences']} sentences, {name} "
                f"| {scores['entities']:.2f} | {scores['relations']:.2f} |"
            )
    if syntax := (manifest.provenance.get("dev") or {}).get("syntax"):
        rows += [
            "",
            f"Its own arcs on dev, against {manifest.parser.name}: UAS {syntax['uas']:.2f}, LAS {syntax['las']:.2f}.",
        ]
    if fitted := manifest.provenance.get("calibration"):
        rows += ["", *(_calibration(name, fitted[name]) for name in ("entities", "relations"))]
    return rows


def _calibration(name: str, fitted: dict[str, Any]) -> str:
    return (
        f"- scores of {name}: at temperature {fitted['temperature']:.2f}, fitted on {fitted['scores']} of them; their "
        f"expected calibration error there {fitted['before']:.3f} before and {fitted['after']:.3f} after"
    )
