"""Losses and gradients of all cells against values recorded from PyTorch (scripts/record_torch_reference.py)."""

from pathlib import Path

import numpy as np
import pytest
from torch_cases import CASES, draw_case

from charrnn.model.config import ModelConfig
from charrnn.model.network import Network
from charrnn.model.unrolled import Unrolled

RECORDED = np.load(Path(__file__).parent / "reference" / "torch.npz", allow_pickle=False)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 2e-5)])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_loss_and_gradients_are_those_of_pytorch(case, dtype, tolerance):
    drawn = draw_case(case)
    config = ModelConfig(
        case.symbols,
        case.cell,
        case.layers,
        case.hidden,
        case.embed,
        case.nonlinearity,
        input_skips=case.input_skips,
    )
    network = Network(config, dtype)
    for name, view in network.parameters.items():
        view[:] = drawn.parameters[name]
    network.pack()
    unrolled = Unrolled(network, case.batch, case.steps)
    unrolled.carried.set(drawn.state)
    unrolled.forward(drawn.inputs)
    assert unrolled.loss(drawn.targets) == pytest.approx(float(RECORDED[f"{case.name}/loss"]), rel=tolerance)
    unrolled.backward()
    answers = dict(network.gradients.items())
    layers = unrolled.state_gradient()
    answers |= {f"state {name}": np.stack([d[name] for d in layers]) for name in drawn.state}
    assert {"loss", *answers} == {
        name.removeprefix(f"{case.name}/") for name in RECORDED.files if name.startswith(f"{case.name}/")
    }
    for name, got in answers.items():
        want = RECORDED[f"{case.name}/{name}"]
        assert np.abs(got - want).max() < tolerance * np.abs(want).max(), name


def test_every_recorded_value_is_compared():
    names = {name.split("/")[0] for name in RECORDED.files if "/" in name}
    assert names == {case.name for case in CASES}
