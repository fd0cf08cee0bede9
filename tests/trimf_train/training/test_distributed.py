"""Two processes learn what one process with twice the batch learns."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file

from trimf.runtime.errors import ConfigError
from trimf_train.config import Config
from trimf_train.training.train import train_model

RUNNER = """
import gc
import sys
import msgspec
import torch
from trimf_train.config import Config
from trimf_train.training.train import train_model

torch.set_num_threads(1)
gc.freeze()
for name in sys.argv[1:]:
    with open(name, "rb") as stream:
        train_model(msgspec.json.decode(stream.read(), type=Config))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def launch(configs: Sequence[Config], folder: Path, processes: int) -> subprocess.CompletedProcess[str]:
    """``accelerate launch --cpu`` starts one process only; ``--multi_gpu`` starts several, on the CPU where told so."""
    script = folder / "runner.py"
    script.write_text(RUNNER)
    names = [folder / f"config{number}.json" for number in range(len(configs))]
    for name, config in zip(names, configs, strict=True):
        name.write_bytes(msgspec.json.encode(config))
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)]
    plain = ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    place = [*plain, "--main_process_ip", "127.0.0.1", "--main_process_port", str(free_port())]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.run(
        [*launcher, *place, str(script), *map(str, names)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def records(config: Config) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(config.output) / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names Linux's loopback interface")
def test_two_processes_are_one_with_twice_the_batch(configure: Callable[..., Config], tmp_path: Path) -> None:
    model = {"dropout": 0, "encoder": {"dropout": 0}}
    # Twelve sentences: a last global batch of two, and three batches an epoch where two make an update.
    options = {"plain": (5, {}), "accumulated": (2, {"gradient_accumulation": 2})}
    pairs = [
        tuple(
            configure(f"{name}{processes}", model=model, train={"batch_size": size * 2 // processes, **others})
            for processes in (1, 2)
        )
        for name, (size, others) in options.items()
    ]
    done = launch([two for _, two in pairs], tmp_path, 2)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("12 training sentences") == 2
    for one, two in pairs:
        train_model(one)
        compare(one, two)


def compare(one: Config, two: Config) -> None:
    mine, theirs = records(one), records(two)
    assert [line["type"] for line in mine] == [line["type"] for line in theirs]
    for single, double in zip(mine, theirs, strict=True):
        if single["type"] == "step":
            assert double["loss"] == pytest.approx(single["loss"], rel=1e-4)
            assert double["lr"] == pytest.approx(single["lr"])
        else:
            assert double["entity_loss"] == pytest.approx(single["entity_loss"], rel=1e-4)
            assert double["relation_loss"] == pytest.approx(single["relation_loss"], rel=1e-4)
    expected = load_file(Path(one.output) / "best" / "model.safetensors")
    found = load_file(Path(two.output) / "best" / "model.safetensors")
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=2e-4, rtol=1e-2)


def test_processes_that_do_not_know_each_other_are_refused(
    configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("trimf_train.training.train.Accelerator", lambda **_: SimpleNamespace(num_processes=1))
    with pytest.raises(ConfigError, match="launched with 2 processes, but only 1 joined"):
        train_model(configure())
