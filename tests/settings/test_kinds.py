# SPDX-License-Identifier: Apache-2.0
"""A loss, a data source, a tracker, an intervention: each is added by one module and one yaml, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clip_align import kinds, source_code
from clip_align.config_plain import from_plain, to_plain
from clip_align.settings.load_config import load
from tests.settings.refusals import errors

ROOT = Path(__file__).resolve().parents[2]

FILES = {
    "clip_align/losses/half.py": """
from clip_align.losses.base import Loss
from clip_align.losses.infonce import infonce
class Half(Loss):
    def __init__(self, factor: float = 0.5, words: tuple[str, ...] = ()):
        super().__init__()
        self.factor = factor
    def forward(self, image, text, logit_scale, rank=0, world=1, copies=None):
        return self.factor * infonce(image, text, logit_scale, rank, world, copies)
""",
    "conf/loss/half.yaml": "kind: half\nfactor: 0.5\nwords: []\n",
    "clip_align/data/sources/colours.py": """
from dataclasses import dataclass
from pathlib import Path
from clip_align.data.sources.base import DataSource
from clip_align.structure import key
@dataclass(frozen=True)
class Colours(DataSource):
    title: str = "colour"
    images: int = key(8, low=2)
    def find(self, cache, notify):
        from PIL import Image
        from clip_align.data.indexed.inventory import in_folder
        from clip_align.data.samples import FolderSamples
        from clip_align.data.bad_samples import Causes
        folder = cache / "colours"
        folder.mkdir(parents=True, exist_ok=True)
        names = [f"{n}.png" for n in range(self.images)]
        for n, name in enumerate(names):
            Image.new("RGB", (32, 32), (20 * n, 0, 255 - 20 * n)).save(folder / name)
        sizes = [(folder / name).stat().st_size for name in names]
        captions = [f"{self.title} number {'abcdefgh'[n]}" for n in range(self.images)]
        return in_folder(FolderSamples(str(folder), names, captions, sizes), Causes())
    def place(self, shards):
        return "colours"
""",
    "conf/data/colours.yaml": "kind: colours\ntitle: colour\nimages: 8\n",
    "clip_align/tracking/names.py": """
from clip_align.record.record import Mirror
from clip_align.tracking.base import Tracker
class Lines(Mirror):
    def __init__(self, path):
        self.path = path
    def line(self, line):
        with self.path.open("a") as file:
            file.write(str(line["kind"]) + "\\n")
    def close(self, status):
        with self.path.open("a") as file:
            file.write(status + "\\n")
class Names(Tracker):
    def __init__(self, file: str = "names.txt"):
        self.file = file
    def mirror(self, run):
        return Lines(run.folder.path / self.file)
""",
    "conf/tracker/names.yaml": "names:\n  file: names.txt\n",
    "clip_align/training/interventions/grey.py": """
from clip_align.training.interventions.base import Intervention
class Grey(Intervention):
    def __init__(self, after: int = 0):
        super().__init__()
        self.after, self.steps = after, []
    def batch(self, batch, step):
        grey = batch["image"].float().mean(1, keepdim=True).to(batch["image"].dtype).expand_as(batch["image"])
        return {**batch, "image": grey} if step > self.after else batch
    def stepped(self, model, step):
        print("stepped", step, flush=True)
""",
    "conf/intervention/grey.yaml": "kind: grey\nafter: 0\n",
}  # fmt: skip


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package with eight more files, two a kind."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("clip_align", "conf"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "train.py", folder)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return folder


def train(copy: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    command = [sys.executable, str(copy / "train.py"), *words]
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=600)


def test_options_are_checked_before_anything_is_imported(copy: Path) -> None:
    done = train(
        copy, "loss=half", "loss.factor=x", "loss.words=a", "data=colours", "data.images=1", "tracker=[csv,names]",
        "tracker.names.file=[]", "intervention=grey", "intervention.after=1.5", "callbacks=[]", "data.batch_size=4",
    )  # fmt: skip
    assert (done.returncode, done.stderr.splitlines()) == (2, [
        "data.images: 1 is out of range; it must be at least 2",
        "loss.factor: 'x' is not a number",
        "loss.words: 'a' is not a list: loss.words=[…]",
        "intervention.after: 1.5 is not a whole number",
        "tracker.names.file: [] is not a text",
    ])  # fmt: skip
    refused = train(copy, "loss=haff").stderr
    assert refused == "loss=haff: no such option; did you mean loss=half? valid: half, infonce, siglip\n"
    shown = [line.split() for line in train(copy, "--help").stdout.splitlines()]
    assert ["intervention", "grey", "none*"] in shown


def test_a_key_of_a_source_that_is_not_chosen_names_it(copy: Path) -> None:
    assert train(copy, "data.title=x").stderr == (
        "data.title: only with data=colours, and this is data=world; type data=colours too\n"
    )


@pytest.mark.slow
def test_a_run_is_made_of_them_and_resumed(copy: Path, tmp_path: Path) -> None:
    words = [
        "loss=half", "loss.factor=0.25", "data=colours", "data.title=12", "data.batch_size=4", "tracker=[csv,names]",
        "intervention=grey", "callbacks=[]", "checkpoint.best=null", "trainer=cpu", "trainer.log_every_n_steps=1",
        "trainer.max_steps=2", "name=a", f"paths.runs={tmp_path}", f"paths.cache={tmp_path}/cache",
    ]  # fmt: skip
    done = train(copy, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "samples in colours" in done.stdout
    assert [line for line in done.stdout.splitlines() if line.startswith("stepped")] == ["stepped 1", "stepped 2"]
    record = [json.loads(line) for line in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()]
    kinds_seen = (tmp_path / "a" / "names.txt").read_text().split()
    assert kinds_seen == [*(line["kind"] for line in record), "done"]
    first = next(line for line in record if line["kind"] == "train")
    assert 0.1 < first["train/loss"] < 0.6  # a quarter of about ln 4
    again = train(copy, f"paths.runs={tmp_path}", "resume=a", "trainer.max_steps=3")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "stepped 3" in again.stdout
    refused = train(copy, f"paths.runs={tmp_path}", "resume=a", "loss=infonce", "loss.factor=1")
    assert refused.returncode == 2


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The same modules in a package of one's own, found through Hydra's search path."""
    for name, text in FILES.items():
        path = tmp_path / "my_kinds" / (name if name.startswith("conf") else Path(name).name)
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = Path(name).stem
        text = text.replace(f"kind: {kind}", f"kind: my_kinds.{kind}")
        path.write_text(text.replace("names:\n", "names:\n  kind: my_kinds.names\n"))
    for folder in ("", "conf"):
        (tmp_path / "my_kinds" / folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    source_code.read_source.cache_clear()
    kinds._target.cache_clear()
    yield "hydra.searchpath=[pkg://my_kinds.conf]"
    source_code.read_source.cache_clear()
    kinds._target.cache_clear()


def test_an_outside_package_brings_kinds(outside: str) -> None:
    chosen = [outside, "loss=half", "data=colours", "data.batch_size=4", "tracker=[csv,names]", "intervention=grey"]
    config = load([*chosen, "loss.factor=2", "callbacks=[]"])
    assert (config.loss.kind, config.loss.options) == ("my_kinds.half", {"factor": 2.0, "words": []})
    assert (config.data.kind, config.intervention.kind) == ("my_kinds.colours", "my_kinds.grey")
    assert config.tracker.kinds == {"csv": {}, "names": {"kind": "my_kinds.names", "file": "names.txt"}}
    assert from_plain(to_plain(config)) == config
    assert "my_kinds.half" not in sys.modules  # torch would come with it
    assert errors(*chosen, "callbacks=[]", "loss.factor=x", "tracker.names.file=[1]", "data.images=0") == [
        "data.images: 0 is out of range; it must be at least 2",
        "loss.factor: 'x' is not a number",
        "tracker.names.file: [1] is not a text",
    ]


def test_only_what_belongs_to_a_table_is_a_kind() -> None:
    assert kinds.LOSSES.names() == ["infonce", "siglip"]
    assert kinds.SOURCES.names() == [
        "cifar10",
        "cifar100",
        "folder",
        "streaming",
        "tiny_imagenet",
        "webdataset",
        "world",
    ]
    assert kinds.TRACKERS.names() == ["csv", "tensorboard", "wandb"]
    assert kinds.INTERVENTIONS.names() == ["none"]
    for table in (kinds.LOSSES, kinds.SOURCES, kinds.TRACKERS, kinds.INTERVENTIONS):
        for name in ("os", "antigravity", "base", "os.path", "", "..", "a b", "clip_align.data.sources.nothing"):
            assert table.target(name) is None, (table.group, name)


def test_every_kind_has_a_yaml_of_its_name_and_the_other_way_round() -> None:
    for table in (kinds.LOSSES, kinds.SOURCES, kinds.TRACKERS, kinds.INTERVENTIONS):
        yamls = {path.stem for path in (ROOT / "conf" / table.group).glob("*.yaml")}
        assert yamls - {"none"} == set(table.names()) - {"none"}, table.group


def test_sources_are_read_without_torch() -> None:
    code = "import sys; from clip_align.kinds import SOURCES; [SOURCES.load(k) for k in SOURCES.names()]; "
    done = subprocess.run([sys.executable, "-c", f"{code} sys.exit('torch' in sys.modules)"], check=False, timeout=600)
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("plain", "line"),
    [
        ({"loss": {"kind": "os"}}, "loss.kind: 'os' is not one of infonce, siglip; choose with loss=…"),
        (
            {"data": {"kind": "os.path"}},
            "data.kind: 'os.path' is not one of cifar10, cifar100, folder, streaming, tiny_imagenet, webdataset, world",
        ),
        ({"tracker": {"aim": True}}, "tracker.aim: unknown key; valid under tracker: csv, entity, group, mode,"),
        ({"tracker": {"csv": 3}}, "tracker.csv: 3 is not true, false or a group of keys"),
        ({"tracker": [1]}, "tracker: [1] is not a group of keys"),
        ({"intervention": 3}, "intervention: 3 does not name a kind; choose with intervention=…"),
    ],
)
def test_kinds_in_a_stored_configuration_are_refused_by_name(
    plain: dict[str, object], line: str, tmp_path: Path
) -> None:
    run = tmp_path / "a"
    run.mkdir()
    (run / "config.yaml").write_text(json.dumps(plain))
    (found,) = errors(f"paths.runs={tmp_path}", "resume=a")
    assert found.removeprefix(f"resume: {run}/config.yaml: ").startswith(line)


def test_configurations_of_the_first_release_are_read() -> None:
    config = from_plain({
        "tracker": {"wandb": True, "tensorboard": False, "csv": True, "project": "p", "mode": None},
        "intervention": "none", "data": {"kind": "world", "images": 32},
    })  # fmt: skip
    assert config.tracker.kinds == {"wandb": {}, "csv": {}}
    assert (config.intervention.kind, config.loss.kind, config.data.kind) == ("none", "infonce", "world")


def test_a_tracker_can_be_switched_without_choosing_its_option() -> None:
    assert load(["tracker.csv=true", "tracker.wandb=false"]).tracker.kinds == {"csv": {}}
