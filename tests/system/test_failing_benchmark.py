# SPDX-License-Identifier: Apache-2.0
"""A benchmark that raises in the middle of a run: null there, its traceback in train.log, training continues."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import pytest
from training_runs import code_of, lines, provenance, real, text

MODULE = '''
from clip_align.callbacks.zero_shot.world import World


class Fails(World):
    """Raises at the event of step 10."""

    calls = 0

    def items(self, features):
        self.calls += 1
        if self.calls == 3:
            raise IndexError("no such row")
        return super().items(features)
'''


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
def test_a_benchmark_that_raises_costs_its_event(
    tmp_path: Path, small: list[str], monkeypatch: pytest.MonkeyPatch, devices: int
) -> None:
    (tmp_path / "outside_fails.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    ranks = ["trainer=ddp", f"trainer.devices={devices}", "data.batch_size=16"] if devices > 1 else []
    mine = "+callbacks.mine={_target_:outside_fails.Fails,every_n_steps:10}"
    assert code_of(real([*small, *ranks, mine, "name=a"], tmp_path / "out"), 600) == 0, text(tmp_path)
    run = tmp_path / "a"
    curve = {line["global_step"]: line["zero_shot/mine/accuracy"] for line in lines(run, "evaluation")}
    assert sorted(curve) == [0, 2, 10, 20]
    assert [step for step, value in curve.items() if value is None] == [10]
    assert all(line["zero_shot/world/accuracy"] is not None for line in lines(run, "evaluation"))
    message = "zero_shot/mine: failed: IndexError: no such row; its scores are null at step 10, training continues"
    assert [line["message"] for line in lines(run, "event") if line["event"] == "warning"] == [message]
    log = (run / "train.log").read_text()
    assert log.count("Traceback (most recent call last)") == 1
    assert 'raise IndexError("no such row")' in log
    assert "Traceback" not in text(tmp_path)
    assert provenance(run)["status"] == "done"
