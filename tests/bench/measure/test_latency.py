"""The split of a call into stages, on a CPU and where arrays go to a device and back."""

import numpy as np
import pytest

from trimf.bench.measure import device_timing as device
from trimf.bench.measure import latency as calls
from trimf.bench.measure.jobs import Job
from trimf.bench.measure.latency import CallRecorder, LatencyLoop
from trimf.bench.measure.loaded_model import LoadedModel
from trimf.bench.measure.model_under_test import load_model
from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.engine.cuda_memory import Buffer, CudaArray, Workspace
from trimf.runtime.engine.onnx_gpu_backend import OnnxGpuBackend
from trimf.runtime.engine.onnx_providers import PROVIDERS, Provider
from trimf.runtime.pipeline import ParsedSentence
from trimf.runtime.pipeline_loading import open_pipeline
from trimf.runtime.text.parser import Parse

ON_CPU = Provider("CPUExecutionProvider", list, lambda model: {}, device=("cpu", 0))


def chained(text):
    words = text.split()
    return ParsedSentence(words, [max(i - 1, 0) for i in range(len(words))], ["dep"] * len(words))


SENTENCES = [chained("Jack Ruby shot Oswald in Dallas ."), chained("Yes ."), chained("Ann lives in Rome .")]


@pytest.fixture(scope="module")
def opened():
    return load_model(Job(name="x", kind="latency", model="default", path="default", data="", backend="cpu"))


@pytest.fixture
def on_device(monkeypatch):
    """The default bundle on a provider that binds buffers as on a GPU, and has the CPU's memory for them."""
    monkeypatch.setitem(PROVIDERS, "bound", ON_CPU)
    backend = OnnxGpuBackend("bound")
    pipeline = open_pipeline(Bundle("default"), backend)
    return LoadedModel(
        pipeline, "bound", "", None, True, lambda: lambda _: None, device.wait_for_subgraph, lambda: True
    )


def test_every_stage_has_a_sample_of_every_batch(opened):
    loop = LatencyLoop(opened, opened.load_plain_encoder(), SENTENCES, 2)
    assert loop.warm_up() > 0
    assert loop.samples == {}
    loop.measure(1.0)
    stages = ["words", *opened.pipeline.graphs, "decode", "plain encoder", "whole"]
    assert sorted(loop.samples) == sorted(stages)
    assert {len(values) for values in loop.samples.values()} == {len(loop.sizes)}
    assert loop.sizes[:3] == [(2, 9), (2, 12), (2, 7)]  # in their own order, over again
    assert min(min(values) for values in loop.samples.values()) >= 0
    assert 0 < loop.real_subwords < loop.padded_subwords


def test_a_loop_goes_on_for_the_calls_that_it_needs_within_its_time(opened):
    loop = LatencyLoop(opened, lambda _: None, SENTENCES, 1)
    loop.measure(0.0, calls=7, max_seconds=600.0)
    assert len(loop.sizes) == 7
    loop = LatencyLoop(opened, lambda _: None, SENTENCES, 1)
    assert loop.measure(0.0, calls=1_000_000, max_seconds=0.2) < 60
    assert 1 <= len(loop.sizes) < 1_000_000


def test_what_comes_before_a_call_has_samples_of_its_own(opened):
    class Chain:
        def parse(self, sentences):
            return [Parse([max(i - 1, 0) for i in range(len(words))], ["dep"] * len(words)) for words in sentences]

    loop = LatencyLoop(
        opened,
        opened.load_plain_encoder(),
        SENTENCES,
        2,
        Chain(),
        ["Jack Ruby shot Oswald.", "Yes.", "Ann lives in Rome."],
    )
    loop.measure(0.5)
    assert {"parse", "split"} <= loop.samples.keys()
    assert {len(values) for values in loop.samples.values()} == {len(loop.sizes)}
    assert min(loop.samples["parse"] + loop.samples["split"]) > 0


def test_stages_add_up_to_the_call(opened):
    watch = CallRecorder(opened)
    watch.pipeline.run(SENTENCES, 3)
    first, last = watch.runs[0][1], watch.runs[-1][2]
    split = watch.split_stages(first - 1, last + 2)
    assert sum(split.values()) == pytest.approx(1000 * (last - first + 3))
    assert split["words"] == pytest.approx(1000)
    assert split["decode"] >= 2000


def test_the_watched_pipeline_answers_the_same(opened):
    found = opened.pipeline.run(SENTENCES, 2)
    watched = CallRecorder(opened).pipeline.run(SENTENCES, 2)
    assert [one.decoded.entities for one in watched] == [one.decoded.entities for one in found]


def test_copies_of_bound_buffers_are_told_apart(on_device):
    watch = CallRecorder(on_device)
    with device.record_copies(watch.copies):
        watch.pipeline.run(SENTENCES, 3)
    split = watch.split_stages(watch.runs[0][1] - 0.5, watch.runs[-1][2] + 0.5)
    assert split["encoder host-to-device"] > 0
    assert split["entities device-to-host"] > 0
    assert split["encoder"] > 0
    seconds = watch.runs[-1][2] - watch.runs[0][1] + 1
    assert sum(split.values()) == pytest.approx(1000 * seconds)


def test_nothing_stays_replaced(on_device):
    with device.record_copies([]):
        pass
    watch = CallRecorder(on_device)
    watch.pipeline.run(SENTENCES, 3)
    assert watch.copies == []


class FakeDevice:
    """A CUDA device that lives in numpy, and remembers what it was asked."""

    def __init__(self):
        self.memory, self.said = {}, []

    def create_stream(self):
        return 1

    def malloc(self, size):
        self.memory[len(self.memory) + 1] = bytearray(size)
        return len(self.memory)

    def free(self, address):
        pass

    def destroy_stream(self, stream):
        pass

    def synchronize(self, stream):
        self.said.append("wait")

    def upload(self, array, address, stream):
        self.said.append("upload")
        self.memory[address][: array.nbytes] = array.tobytes()

    def download(self, address, array, stream):
        array.ravel()[:] = np.frombuffer(bytes(self.memory[address][: array.nbytes]), array.dtype)


def test_copies_of_a_workspace_are_waited_for():
    fake = FakeDevice()
    workspace, events = Workspace(fake), []
    given = np.arange(6, dtype=np.int64).reshape(2, 3)
    with device.record_copies(events):
        workspace.upload("input_ids", given)
        assert fake.said[-2:] == ["upload", "wait"]
        buffer: Buffer = workspace._buffers["input_ids"]
        real = {"batch": 2, "subwords": 3}
        array = CudaArray("input_ids", buffer, workspace, (2, 3), real, np.int64, "INT64")
        assert np.asarray(array).tolist() == given.tolist()
    assert [(event.direction, event.name) for event in events] == [
        ("host-to-device", "input_ids"),
        ("device-to-host", "input_ids"),
    ]
    assert all(event.start <= event.end for event in events)


def test_a_subgraph_that_works_on_is_waited_for():
    waited = []

    class Subgraph:
        def synchronize(self) -> None:
            waited.append(self)

    device.wait_for_subgraph(Subgraph())
    device.wait_for_subgraph(object())
    assert len(waited) == 1


def test_what_is_compiled_at_first_is_no_sample(opened, monkeypatch):
    monkeypatch.setattr(calls, "WARM_UP_BATCHES", 1)
    settled = iter([False, False, True])
    loop = LatencyLoop(opened._replace(is_settled=lambda: next(settled)), opened.load_plain_encoder(), SENTENCES, 1)
    loop.warm_up()
    assert next(settled, None) is None
    assert loop.samples == {}
