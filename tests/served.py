"""Model directories whose ONNX graph is written by hand, so that their outputs are known: the outputs of
a text are the sum of its tokens' rows of a table; of tags, each token's row.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import toy

from shortlist.deploy.inference import Predictor
from shortlist.deploy.model_dir import Measured, ModelDir, ModelFacts, write_model_dir

LABELS = ("baking", "sailing")


def table(outputs: int, rows: int = 200) -> np.ndarray[Any, Any]:
    """Returns (rows, outputs) numbers."""
    return np.random.default_rng(5).normal(size=(rows, outputs)).astype(np.float32)


def write_graph(path: Path, outputs: int, *, tokens: bool, types: bool) -> None:
    """Writes the model; where it reads segment ids, each token's row has its segment id added."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    names = ["input_ids", "attention_mask", "token_type_ids"][: 2 + types]
    given = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["texts", "tokens"])
        for name in names
    ]
    shape = ["texts", "tokens", outputs] if tokens else ["texts", outputs]
    made = helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["rows"])]
    if types:
        nodes += [
            helper.make_node("Cast", ["token_type_ids"], ["segments"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["segments", "last"], ["segment"]),
            helper.make_node("Add", ["rows", "segment"], ["typed"]),
        ]
    nodes += [
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["typed" if types else "rows", "column"], ["kept"]),
        helper.make_node("Identity", ["kept"], ["logits"])
        if tokens
        else helper.make_node("ReduceSum", ["kept", "middle"], ["logits"], keepdims=0),
    ]
    constants = [
        numpy_helper.from_array(table(outputs), "table"),
        numpy_helper.from_array(np.array([-1]), "last"),
        numpy_helper.from_array(np.array([1]), "middle"),
    ]
    graph = helper.make_graph(nodes, "toy", given, [made], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


@cache
def _start(home: Path) -> Path:
    return toy.write_bert(home / "start")


def write_served(path: Path, **facts: Any) -> ModelDir:
    """Returns a model directory; `facts` differ from those of a classifier of two topics."""
    described: Mapping[str, Any] = {
        "task": "toy",
        "kind": "single_label",
        "labels": LABELS,
        "max_length": 32,
        "record": "0" * 16,
        "run": "first",
        "selection": "abc",
        "data_version": "d" * 24,
        "metric": Measured("accuracy", 0.75, 0.05),
        **facts,
    }
    start = _start(path.parent)

    def write(directory: Path) -> ModelFacts:
        shutil.copytree(start, directory, dirs_exist_ok=True)
        made = ModelFacts(**described)
        write_graph(
            directory / "model.onnx",
            max(1, len(made.labels)),
            tokens=made.kind == "tokens",
            types=made.two_texts,
        )
        return made

    return write_model_dir(path, write)


def predictor(path: Path, **facts: Any) -> Predictor:
    """Returns a model directory that predicts, in one thread."""
    return Predictor(write_served(path, **facts), threads=1)
