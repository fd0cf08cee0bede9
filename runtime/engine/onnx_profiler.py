"""Profile sessions of ONNX Runtime, which writes a trace of every node to a file."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ..errors import BackendError, one_line
from .onnxruntime_library import onnxruntime
from .profiling import NodeCall, NodeTimes, summarize_runs

#: End of the name of the event that has the time of a node; before it comes the name of the node.
_NODE_SUFFIX = "_kernel_time"
#: Name of the event that ends a run.
_RUN_EVENT = "model_run"


class _Arguments(msgspec.Struct):
    """The parts of an event's arguments that are read; only a node has them."""

    op_name: str = ""
    provider: str = ""


class _TraceEvent(msgspec.Struct):
    """The parts of an event of a trace that are read; ``dur`` is in microseconds."""

    name: str
    cat: str = ""
    dur: float = 0.0
    args: _Arguments = msgspec.field(default_factory=_Arguments)


class OnnxProfiler:
    """Profiler of one session.

    Args:
        name: Name of the subgraph, for messages.

    Raises:
        BackendError: There is no folder for temporary files.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._session: onnxruntime.InferenceSession | None = None
        try:
            from tempfile import TemporaryDirectory

            self._folder = TemporaryDirectory(prefix="trimf-profile-")
        except OSError as error:
            raise BackendError(
                f"profiling {name}.onnx needs a temporary folder: {one_line(error)}; set TMPDIR"
            ) from error

    def configure(self, options: onnxruntime.SessionOptions) -> None:
        """Turn profiling on in the options of the session to create.

        Args:
            options: Options to change.
        """
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(self._folder.name) / "trace")

    def attach(self, session: onnxruntime.InferenceSession) -> None:
        """Set the session that was created with the options.

        Args:
            session: The session.
        """
        self._session = session

    def read(self, skip: int = 0) -> NodeTimes:
        """Stop profiling and return the times of the complete runs, once.

        ONNX Runtime records a million events at most, so the last of very many runs may be missing.

        Args:
            skip: Number of runs to leave out, counted from the first.

        Raises:
            BackendError: The profile was read before, ONNX Runtime recorded no run after those, or its trace cannot be
                read.
        """
        session, self._session = self._session, None
        if session is None:
            raise BackendError(f"the profile of {self._name}.onnx was read before")
        version = onnxruntime.__version__
        with self._folder:
            try:
                content = Path(session.end_profiling()).read_bytes()
                events = msgspec.json.decode(content, type=list[_TraceEvent])
            except Exception as error:
                raise BackendError(
                    f"the trace of {self._name}.onnx by ONNX Runtime {version} cannot be read: {one_line(error)}"
                ) from error
        return summarize_runs(split_runs(events), skip, f"{self._name}.onnx in ONNX Runtime {version}")


def split_runs(events: list[_TraceEvent]) -> list[list[NodeCall]]:
    """Return the executions of nodes in each complete run.

    Args:
        events: Events of a trace, in the order in which they ended.
    """
    runs: list[list[NodeCall]] = []
    nodes: list[NodeCall] = []
    for event in events:
        if event.cat == "Node" and event.name.endswith(_NODE_SUFFIX):
            name, arguments = event.name.removesuffix(_NODE_SUFFIX), event.args
            nodes.append(NodeCall(name, arguments.op_name, arguments.provider, event.dur))
        elif event.name == _RUN_EVENT:
            runs.append(nodes)
            nodes = []
    return runs
