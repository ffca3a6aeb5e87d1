# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from types import ModuleType

from clip_align.record.record import read
from clip_align.tracking.headline_scores import Headlines

BIAS = "texture/world_cue_conflict/texture_bias"


def test_headlines_with_bands_and_nothing_undefined(synthetic: ModuleType) -> None:
    follow = Headlines()
    values = [follow.values(x) for x in synthetic.lines(60)]
    last = values[-1]
    assert last["interval/human/tid2013_remade/srocc/low"] < last["human/tid2013_remade/srocc"]
    assert not any(key.endswith(("/low", "/high")) for key in last if not key.startswith("interval/"))
    assert BIAS not in last
    assert "human/tid2013_remade/plcc" not in last
    assert last["time/evaluation_fraction"] == 0.27
    assert all(isinstance(v, float) for v in last.values())


def test_texture_bias_only_from_the_second_defined_evaluation_on(synthetic: ModuleType) -> None:
    follow = Headlines()
    shown = [x["global_step"] for x in synthetic.lines(1080) if BIAS in follow.values(x)]
    assert shown == [*range(360, 841, 60), 1020, 1080]


def test_a_first_evaluation_is_not_sent_where_it_may_have_to_be_taken_back(synthetic: ModuleType) -> None:
    follow = Headlines()
    for benchmark in synthetic.benchmarks():
        follow.values({**benchmark, **synthetic.where(0)})
    assert BIAS not in follow.values(synthetic.evaluation(600, synthetic.benchmarks()))
    assert BIAS in follow.values(synthetic.evaluation(660, synthetic.benchmarks()))


def test_a_resumed_run_knows_what_came_before(tmp_path: Path, synthetic: ModuleType) -> None:
    synthetic.write(tmp_path, synthetic.lines(600))
    follow = Headlines(read(tmp_path))
    assert BIAS in follow.values(synthetic.evaluation(660, synthetic.benchmarks()))


def test_what_a_resume_takes_back_does_not_count(tmp_path: Path, synthetic: ModuleType) -> None:
    synthetic.write(tmp_path, synthetic.lines(300))  # texture bias is defined at step 300 for the first time
    follow = Headlines(read(tmp_path))
    follow.rewind(240)
    assert BIAS not in follow.values(synthetic.evaluation(300, synthetic.benchmarks()))
    assert BIAS in follow.values(synthetic.evaluation(360, synthetic.benchmarks()))
