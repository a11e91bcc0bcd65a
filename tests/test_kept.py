"""When the checkpoints of a run are written."""

from types import SimpleNamespace

import pytest

from charrnn.training import kept


@pytest.mark.parametrize(("seconds", "due"), [(0, False), (59.9, False), (60.1, True), (1000, True)])
def test_a_checkpoint_is_due_a_minute_after_the_last_one(tmp_path, monkeypatch, seconds, due):
    clock = [100.0]
    monkeypatch.setattr(kept.time, "perf_counter", lambda: clock[0])
    state = SimpleNamespace(snapshot=lambda: SimpleNamespace(save=lambda path: None))
    checkpoints = kept.KeptCheckpoints(tmp_path, state)
    clock[0] += 500
    assert checkpoints.due()
    checkpoints.save("best.npz")
    assert checkpoints.due()
    checkpoints.save()
    clock[0] += seconds
    assert checkpoints.due() is due
