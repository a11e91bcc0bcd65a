#!/usr/bin/env python3
"""Record losses and gradients of PyTorch's recurrent layers for tests/test_torch_reference.py.

    pip install torch==2.13.0
    python scripts/record_torch_reference.py

Parameters, state and symbols are drawn by tests/torch_cases.py. The test uses this file too, so only PyTorch's
results are stored.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

TESTS = Path(__file__).parent.parent / "tests"
sys.path.insert(0, str(TESTS))
from torch_cases import CASES, draw_case  # noqa: E402

KINDS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def torch_names(layer, parameters):
    """Our arrays of one layer under PyTorch's names; its LSTM and GRU have our gate order, transposed."""
    prefix = f"layer{layer}."
    b_hh = torch.zeros_like(parameters[prefix + "b"])
    if prefix + "b_hn" in parameters:
        b_hh = torch.cat([b_hh[: 2 * len(parameters[prefix + "b_hn"])], parameters[prefix + "b_hn"]])
    return {
        f"weight_ih_l{layer}": parameters[prefix + "W_x"].T,
        f"weight_hh_l{layer}": parameters[prefix + "W_h"].T,
        f"bias_ih_l{layer}": parameters[prefix + "b"],
        f"bias_hh_l{layer}": b_hh,
    }


def with_skips(case, parameters, x, state):
    """A stack of single layers, each fed by the one below and by x side by side."""
    y = x
    for layer in range(case.layers):
        names = torch_names(layer, parameters)
        own = {name.replace(f"_l{layer}", "_l0"): value for name, value in names.items()}
        if layer:
            y = torch.cat([y, x], dim=-1)
            own["weight_ih_l0"] = torch.cat([own["weight_ih_l0"], parameters[f"layer{layer}.W_skip"].T], dim=1)
        single = KINDS[case.cell](y.shape[-1], case.hidden, 1, dtype=torch.float64)
        first = {name: value[layer : layer + 1] for name, value in state.items()}
        begin = (first["h"], first["c"]) if case.cell == "lstm" else first["h"]
        y, _ = torch.func.functional_call(single, own, (y, begin))
    return y


def record(case):
    """Loss and gradients of one case, under names that begin with the case's."""
    drawn = draw_case(case)
    parameters = {name: torch.tensor(v, requires_grad=True) for name, v in drawn.parameters.items()}
    state = {name: torch.tensor(v, requires_grad=True) for name, v in drawn.state.items()}
    table = parameters["embed"] if case.embed else torch.eye(case.symbols, dtype=torch.float64)
    options = {"nonlinearity": case.nonlinearity} if case.cell == "rnn" else {}
    core = KINDS[case.cell](table.shape[1], case.hidden, case.layers, dtype=torch.float64, **options)
    renamed = {}
    for layer in range(case.layers):
        renamed |= torch_names(layer, parameters)
    first = (state["h"], state["c"]) if case.cell == "lstm" else state["h"]
    x = table[torch.tensor(drawn.inputs)]
    if case.input_skips:
        y = with_skips(case, parameters, x, state)
    else:
        y, _ = torch.func.functional_call(core, renamed, (x, first))
    logits = y @ parameters["W_y"] + parameters["b_y"]
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), torch.tensor(drawn.targets).flatten())
    loss.backward()
    answers = {"loss": loss.detach().numpy()}
    answers |= {name: p.grad.numpy() for name, p in parameters.items()}
    answers |= {f"state {name}": s.grad.numpy() for name, s in state.items()}
    return {f"{case.name}/{name}": value for name, value in answers.items()}


if __name__ == "__main__":
    recorded = {"torch": np.array(torch.__version__)}
    for each in CASES:
        recorded |= record(each)
    path = TESTS / "reference" / "torch.npz"
    np.savez_compressed(path, **recorded)
    print(f"{path}: {len(CASES)} cases, {path.stat().st_size} bytes")
