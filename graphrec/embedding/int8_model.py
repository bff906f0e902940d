"""A text model in int8, for onnxruntime: about four times as fast on a CPU, at a loss that is measured.

Weights are quantised once, a scale each output of a matrix; activations as they come, a scale each batch, so a vector
depends a little on the texts beside it. Making the file takes seconds, so it is kept in the user's cache folder under
the encoder's identity. It is derived state: it may be deleted at any time.

The quantised vectors are held against the exact ones before a file is kept: an exporter can write another function
than it was given and say nothing.
"""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphrec.embedding.model_folder import first_line
from graphrec.errors import DependencyError, ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    Vectors = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]

LEAST_COSINE = 0.95  # of a quantised vector to the exact one; all-MiniLM-L6-v2 has 0.99

_OPSET = 17
_NAMES = ["ids", "mask"]


def int8_vectors(
    file: str, load: Callable[[], nn.Module], probe: tuple[NDArray[np.int64], NDArray[np.int64]]
) -> Vectors:
    """What turns token ids and their mask, int64 (n, width), into vectors, float32 (n, d), by int8 matrices on the CPU.

    Args:
        file: name of the model's file in the cache folder; equal names mean equal models.
        load: the exact model, called only if there is no such file: (ids, mask) as tensors -> vectors.
        probe: ids and mask of some texts, to hold the quantised model against the exact one.

    Raises DependencyError without onnxruntime, and ModelError where the model cannot be quantised.
    """
    runtime = _import_onnxruntime()
    path = _cache_folder() / file
    if not path.is_file():
        _make(path, load(), probe)
    return _session(runtime, path)


def _import_onnxruntime() -> Any:
    try:
        import onnx  # noqa: F401 - what onnxruntime quantises with
        import onnxruntime
    except ImportError as error:
        raise DependencyError(
            'text.precision = "int8" needs onnxruntime',
            got=str(error),
            way_out="pip install 'graphrec[onnx]', or set text.precision to \"float32\"",
        ) from None
    return onnxruntime


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "graphrec"


def _session(runtime: Any, path: Path) -> Vectors:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or 0)  # 0 = all cores, as torch has it
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads leave the cores to others
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def vectors(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = session.run(None, dict(zip(_NAMES, (ids, mask), strict=True)))[0]
        return found

    return vectors


def _make(path: Path, model: nn.Module, probe: tuple[NDArray[np.int64], NDArray[np.int64]]) -> None:
    """Export, quantise, compare, and only then give the file its name."""
    import onnxruntime
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata, load_model_with_shape_infer

    tensors = tuple(torch.from_numpy(array) for array in probe)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        exact, small = Path(scratch, "exact.onnx"), Path(scratch, "int8.onnx")
        try:
            with warnings.catch_warnings(), torch.inference_mode():
                warnings.simplefilter("ignore")  # that tracing keeps some shapes, which the comparison below would see
                expected = model(*tensors).numpy()
                # The other exporter needs two packages more, and its graphs run slower when they are quantised.
                torch.onnx.export(
                    model,
                    tensors,
                    str(exact),
                    dynamo=False,
                    opset_version=_OPSET,
                    input_names=_NAMES,
                    output_names=["vectors"],
                    dynamic_axes={name: {0: "texts", 1: "width"} for name in _NAMES} | {"vectors": {0: "texts"}},
                )
                graph = load_model_with_shape_infer(exact)
                add_pre_process_metadata(graph)  # or it would advise on the root logger what does not concern us
                quantize_dynamic(graph, small, per_channel=True, weight_type=QuantType.QInt8)
            found = _session(onnxruntime, small)(*probe)
        except Exception as error:  # whatever the exporter and the quantiser make of an architecture they do not know
            raise _unfit(f"{type(error).__name__}: {first_line(error)}") from None
        cosine = float((found * expected).sum(axis=1).min())
        if not cosine >= LEAST_COSINE:  # nor NaN
            raise _unfit(f"a cosine of {cosine:.3f} to the exact vector, where {LEAST_COSINE} is wanted")
        logging.getLogger(__name__).info("kept the int8 text model in %s", path)
        os.replace(small, path)


def _unfit(got: str) -> ModelError:
    return ModelError("the text model cannot be quantised", got=got, way_out='set text.precision to "float32"')
