"""Made-up reports that look like real ones: noise within a round, drift between rounds, long tails."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec.structs import replace

from trimf.bench.report.schema import (
    SCHEMA_VERSION,
    Case,
    LatencyFloor,
    Memory,
    ModelInfo,
    Power,
    Profile,
    ProfiledNode,
    Ratio,
    Report,
    Round,
    SubgraphProfile,
)

LENGTHS = (8, 16, 32, 64, 128, 256)
SHARES = {"words": 0.06, "encoder": 0.55, "fusion": 0.08, "entities": 0.09, "relations": 0.12, "decode": 0.1}
ENVIRONMENT: dict[str, Any] = {
    "device": "cpu",
    "processor": "AMD EPYC 9V74",
    "cores": 2,
    "memory_gb": 8.2,
    "system": "Linux 6.8.0",
    "python": "3.11.7",
    "libraries": {"numpy": "2.4.6", "onnxruntime": "1.23.0"},
    "driver": None,
}


def rounds(
    rng: np.random.Generator,
    milliseconds: float,
    *,
    count: int = 3,
    calls: int = 300,
    batch: int = 1,
    drift: float = 0.02,
    noise: float = 0.15,
    share: float = 0.5,
    split: bool = True,
    power: bool = False,
) -> list[Round]:
    """Rounds of calls that take about ``milliseconds``; each is off by ``drift`` (a standard deviation of logs)."""
    sizes = [(batch, batch * (5 + 7 * i % 37)) for i in range(calls)]
    factor = np.array([0.5 + words / batch / 46 for _, words in sizes])
    made = []
    for _ in range(count):
        whole = milliseconds * np.exp(rng.normal(0, drift)) * factor * np.exp(rng.normal(0, noise, (3, calls)))
        samples = {"whole": whole[0].tolist(), "plain encoder": (whole[1] * share).tolist()}
        if split:
            samples["parse"] = (whole[2] * 0.4).tolist()
            samples |= {stage: (whole[2] * part).tolist() for stage, part in SHARES.items()}
        made.append(
            Round(
                load=float(400 * np.exp(rng.normal(0, 0.1))),
                first=3 * milliseconds,
                samples=samples,
                sizes=sizes,
                seconds=sum(samples["whole"]) / 1000,
                padding=0.0 if batch == 1 else 0.21,
                memory=Memory(host=300 + 4 * batch, device=800.0 if power else None),
                power=Power(clock_mhz=1400, lowest_clock_mhz=900, watts=55, joules=550, throttled=("sw_power_cap",))
                if power
                else None,
            )
        )
    return made


def case(rng: np.random.Generator, name: str, milliseconds: float = 10.0, *, of: dict[str, Any], **fields: Any) -> Case:
    """A case; ``of`` says what its rounds are like."""
    known = {"kind": "latency", "model": "trimf", "engine": "onnx", "backend": "cpu", "threads": 1, "batch_size": 1}
    return Case(name=name, rounds=rounds(rng, milliseconds, **of), **(known | fields))


def empty(**fields: Any) -> Report:
    """A report of a run that measured nothing."""
    known: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "created": "2026-01-31T12:00:00Z",
        "command": "trimf bench --model default",
        "environment": ENVIRONMENT,
        "data": "conll04 test",
        "sentences": 288,
        "words": 6874,
        "subjects": [],
        "cases": [],
        "floors": [],
        "ratios": [],
    }
    return Report(**(known | fields))


def pair(seed: int, *, factor: float = 1.0, drift: float = 0.03, count: int = 3, calls: int = 200) -> Report:
    """A report of one latency case that takes 10 ms times ``factor``."""
    rng = np.random.default_rng(seed)
    return empty(cases=[case(rng, "one", 10 * factor, of={"drift": drift, "count": count, "calls": calls})])


def full(seed: int = 0, *, power: bool = False, threads: tuple[int, ...] = (1, 2)) -> Report:
    """A whole run: three precisions, PyTorch, batches, lengths, workers, concurrency, a long stream."""
    rng = np.random.default_rng(seed)
    models = {"trimf-fp32": ("float32", 11.0), "trimf-fp16": ("float16", 13.5), "trimf-int8": ("int8", 5.2)}
    f1 = {
        "trimf-fp32": {"entities": 85.74, "relations": 65.57},
        "trimf-fp16": {"entities": 85.74, "relations": 65.57},
        "trimf-int8": {"entities": 85.77, "relations": 65.32},
        "runs/conll04/best": {"entities": 85.74, "relations": 65.57},
    }
    precisions = {name: precision for name, (precision, _) in models.items()} | {"runs/conll04/best": "float32"}
    subjects = [
        ModelInfo(
            name=name,
            sha256=f"{number:06x}" * 10 + "beef",
            precision=precision,
            products={"encoder": {precision: 32, "float32": 6}} if name in models else {},
            f1=f1[name],
        )
        for number, (name, precision) in enumerate(precisions.items(), start=0xABCDEF)
    ]
    cases = []
    for model, (_, base) in models.items():
        for count in threads:
            at = base / count**0.7
            for batch in (1, 8, 32):
                cases.append(
                    case(
                        rng,
                        f"{model} cpu {count} thread(s) batch {batch}",
                        at * batch**0.85,
                        of={"batch": batch, "calls": 400 if batch == 1 else 150, "power": power},
                        model=model,
                        threads=count,
                        batch_size=batch,
                    )
                )
        for length in LENGTHS:
            cases.append(
                case(
                    rng,
                    f"{model} length {length}",
                    base * (0.3 + length / 40),
                    of={"calls": 120, "split": False, "power": power},
                    kind="length",
                    model=model,
                    subwords=length,
                )
            )
        for workers, callers in ((1, 1), (2, 1), (1, 2), (1, 4)):
            made = case(
                rng,
                f"{model} stream {workers} worker(s) {callers} caller(s)",
                base * 1.4 * callers**0.8,
                of={"split": False, "power": power},
                kind="throughput",
                model=model,
                batch_size=32 if callers == 1 else 1,
                workers=workers,
                concurrency=callers,
            )
            # A stream has no time of its own for each call, and callers share the wall time.
            held = [
                replace(one, seconds=one.seconds / callers, samples=one.samples if callers > 1 else {})
                for one in made.rounds
            ]
            cases.append(replace(made, rounds=held))
    for engine in ("eager", "compile"):
        cases.append(
            case(
                rng,
                f"best {engine}",
                19.0 if engine == "eager" else 14.0,
                of={"split": engine == "eager", "power": power},
                model="runs/conll04/best",
                engine=engine,
            )
        )
    growth = tuple((done, 410 + 0.002 * done) for done in range(1000, 20001, 1000))
    (soak,) = rounds(rng, 8.0, count=1, split=False, power=power)
    soak = replace(soak, samples={}, memory=Memory(host=450, growth=growth))
    cases.append(
        Case(name="soak", kind="soak", model="trimf-int8", engine="onnx", backend="cpu", threads=1, batch_size=32,
             rounds=[soak])
    )  # fmt: skip
    first = cases[0].name
    return empty(
        subjects=subjects,
        cases=cases,
        floors=[
            LatencyFloor(model=name, backend="cpu", threads=1, batch_size=1, subwords=31, operations=6.7e8, bytes=8.9e7,
                  peak_operations=1.1e11, peak_bytes=1.2e10, milliseconds=7.4)
            for name in models
        ],
        ratios=[
            Ratio(name="whole / plain encoder", of=first, to=f"{first}: plain encoder", value=2.0, low=1.9, high=2.1,
                  rounds=3),
            Ratio(name="int8 / fp32", of="trimf-int8 cpu 1 thread(s) batch 1", to=first, value=0.47, low=0.45, high=0.5,
                  rounds=3),
        ],
    )  # fmt: skip


def profile(
    *, model: str = "trimf-int8", backend: str = "cpu", batch_size: int = 1, nodes: int = 30, name: str = "node_MatMul_"
) -> Profile:
    """A profile of an encoder with that many nodes, the slowest last; nothing needed the relations."""
    providers = ["CPUExecutionProvider"] if backend == "cpu" else ["CUDAExecutionProvider", "CPUExecutionProvider"]
    made = [
        ProfiledNode(
            name=f"{name}{place}",
            operator=f"MatMulIntegerToFloat{place % 13}" if place % 13 else "",
            provider=providers[place % len(providers)],
            mean=10.0 * place + 1,
            median=9.0 * place,
        )
        for place in range(nodes)
    ]
    return Profile(
        model=model,
        backend=backend,
        threads=1,
        batch_size=batch_size,
        batches=100,
        subgraphs=[
            SubgraphProfile(subgraph="encoder", runs=100, nodes=made),
            SubgraphProfile(subgraph="relations", runs=0, nodes=[]),
        ],
    )


def awkward() -> list[Report]:
    """Reports with parts missing: nothing at all, one sample in one round, a stream without samples, a bare subject."""
    rng = np.random.default_rng(1)
    lone = case(rng, "lone", of={"count": 1, "calls": 1, "split": False})
    bare = Round(load=1, first=1, samples={}, sizes=[], seconds=0, padding=0, memory=Memory(host=1))
    stream = Round(load=1, first=1, samples={}, sizes=[(64, 900)], seconds=2, padding=0.1, memory=Memory(host=1))
    plain = {"model": "gone", "engine": "onnx", "backend": "cpu", "threads": 1, "batch_size": 1}
    cases = [
        lone,
        Case(name="bare", kind="latency", rounds=[bare], **plain),
        Case(name="no rounds", kind="latency", rounds=[], **plain),
        Case(name="no length", kind="length", rounds=[bare], **plain),
        Case(name="stream", kind="throughput", rounds=[stream], **plain),
        Case(name="idle stream", kind="throughput", rounds=[bare], **plain),
    ]
    subject = ModelInfo(name="trimf", sha256="ab", precision="float32", products={})
    return [empty(), empty(cases=[lone]), empty(cases=cases, subjects=[subject], environment={}, command="", data="")]
