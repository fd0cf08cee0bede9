"""Arrays on the device: what they hold, how long they can be read, and what their memory costs."""

import threading

import numpy as np
import pytest

from trimf.runtime.engine import cuda_memory
from trimf.runtime.engine.cuda_memory import Buffer, CudaArray, Workspace
from trimf.runtime.errors import BackendError

from .fake_tensorrt import EngineSetup, FakeDevice, encoder_inputs


def test_outputs_have_their_real_shape_and_can_be_read_until_they_are_computed_again(both: EngineSetup) -> None:
    encoder = both.pipeline().graphs["encoder"]
    words = encoder.run(encoder_inputs(3))["words"]
    assert words.shape == (3, 2, 4)
    assert np.asarray(words).shape == (3, 2, 4)
    assert np.array(words, np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="cannot be read without a copy"):
        np.asarray(words, copy=False)
    encoder.run(encoder_inputs(1))
    with pytest.raises(BackendError, match=r"words is no longer valid: .* copy it with numpy\.asarray before"):
        np.asarray(words)


def test_memory_does_not_move_under_work_that_is_not_done(both: EngineSetup) -> None:
    encoder = both.pipeline().graphs["encoder"]
    for batch in (1, 3, 12):
        words = encoder.run(encoder_inputs(batch))["words"]
    assert np.asarray(words).shape == (12, 2, 4)


def test_what_was_freed_cannot_be_read(both: EngineSetup) -> None:
    graphs = both.pipeline().graphs
    words = graphs["encoder"].run(encoder_inputs())["words"]
    for graph in graphs.values():
        graph.close()
    with pytest.raises(BackendError, match="words is no longer valid"):
        np.asarray(words)


def test_an_array_of_another_thread(both: EngineSetup) -> None:
    graphs = both.pipeline().graphs
    inputs = encoder_inputs()
    inputs.update(graphs["encoder"].run(inputs))
    raised: list[BackendError] = []

    def work() -> None:
        with pytest.raises(BackendError, match=r"words belongs to another thread") as error:
            graphs["fusion"].run(inputs)
        raised.append(error.value)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert raised


def test_device_arrays_padded_otherwise_than_each_other(both: EngineSetup) -> None:
    graphs = both.pipeline().graphs
    inputs = encoder_inputs()
    inputs.update(graphs["encoder"].run(inputs))
    inputs["cls"].padded_shape = (8, 4)
    with pytest.raises(BackendError, match="padding of axis 'batch': cls is padded to 8, another input to 1"):
        graphs["fusion"].run(inputs)


def test_bf16_comes_to_the_host_as_fp32() -> None:
    device = FakeDevice()
    workspace = Workspace(device)
    buffer = Buffer()
    nodes = CudaArray("nodes", buffer, workspace, (1, 16, 4), {"batch": 1, "words": 2}, None, "BF16")
    buffer.content = np.full(64, 0x3FC0, np.uint16).view(np.uint8)
    assert nodes.shape == (1, 2, 4)
    assert np.array_equal(np.asarray(nodes), np.full((1, 2, 4), 1.5, np.float32))


def test_uploads_that_nobody_waits_for_do_not_pile_up() -> None:
    device = FakeDevice()
    workspace = Workspace(device)
    for _ in range(3 * cuda_memory.MAX_CACHED):
        workspace.upload("heads", np.zeros((1, 16), np.int64))
        assert len(device.streams[workspace.stream]) <= cuda_memory.MAX_CACHED
    workspace.close()
    assert device.empty
