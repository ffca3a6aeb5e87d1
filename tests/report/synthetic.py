"""A made-up record in the form of a real one, for tests of figures, pages and trackers. No number here was measured."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

BATCH, EVERY, STEPS = 128, 60, 1500
EARLY = (2, 8, 32)


def score(name: str, label: str, role: str = "headline", **more: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "name": name,
        "label": label,
        "direction": "higher = better",
        "chance": None,
        "ceilings": {},
        "baselines": {},
        "unit": "",
        "axis": [0.0, 1.0],
        "role": role,
        "drawn_after": 1,
        "drawn_after_of": None,
        "has_verdict": False,
        "higher_is_better": None,
    }
    return {**fields, **more}


def benchmark(key: str, panel: str, scores: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "kind": "benchmark",
        "key": key,
        "version": 1,
        "human_data": "none",
        "stand_in": "synthetic test record",
        "source": "made up by the tests",
        "licence": "Apache-2.0",
        "options": {},
        "n": 100,
        "panel": panel,
        "scores": scores,
        **more,
    }


def benchmarks() -> list[dict[str, Any]]:
    wilson = "1024 images, Wilson"
    return [
        benchmark(
            "zero_shot/world",
            "accuracy",
            [
                score(
                    "accuracy",
                    "clean",
                    chance=1 / 16,
                    unit=wilson,
                    baselines={"nearest neighbour in pixels": 0.31},
                ),
                score("accuracy_random_texture", "random textures", "companion", chance=1 / 16, unit=wilson),
            ],
            n=1024,
            stand_in="rendered shapes, not photographs",
        ),
        benchmark(
            "human/tid2013_remade",
            "alignment",
            [
                score(
                    "srocc",
                    "SROCC, all pairs",
                    chance=0.0,
                    unit="24 references, jackknife, t",
                    axis=[-1.0, 1.0],
                    has_verdict=True,
                    ceilings={"rating noise": 0.992, "replication TID2008": 0.978, "content-blind": 0.930},
                    baselines={
                        "level alone": 0.744,
                        "type alone": 0.443,
                        "PSNR-RGB": 0.650,
                        "PSNR-luminance": 0.563,
                        "SSIM": 0.633,
                        "untrained": 0.532,
                        "untrained sd": 0.012,
                    },
                ),
                score(
                    "within_level_srocc",
                    "within level",
                    "companion",
                    chance=0.0,
                    unit="24 references, jackknife, t",
                    axis=[-1.0, 1.0],
                    has_verdict=True,
                    baselines={"SSIM": 0.276, "PSNR-RGB": -0.196, "type alone": 0.665},
                ),
                score("plcc", "PLCC", "detail", chance=0.0, axis=[-1.0, 1.0]),
            ],
            n=1920,
            human_data="TID2013's mean opinion scores of its own images, values unmodified",
            stand_in="the images: 16 of TID2013's 24 distortion types re-made on crops of the same Kodak "
            "photographs; 6 of the 24 references are the database's to the pixel",
            source="Ponomarenko et al. 2015, doi:10.1016/j.image.2014.10.009; Kodak Lossless True Color Image Suite",
            licence="scores: TID2013's terms; photographs: Kodak, free use",
        ),
        benchmark(
            "texture/world_cue_conflict",
            "texture",
            [
                score("texture_bias_corrected", "bias, corrected", unit="240 class pairs", drawn_after=2),
                score("texture_bias", "bias, raw", "companion", unit="240 class pairs", drawn_after=2),
                score("shape_hits", "shape hits", "companion", chance=1 / 16, unit="Wilson"),
                score("texture_hits", "texture hits", "companion", chance=1 / 16, unit="Wilson"),
            ],
            n=960,
            stand_in="rendered shapes and textures instead of the published images; no human trials",
        ),
        benchmark(
            "noise/world_noise",
            "noise",
            [
                score("accuracy_clean", "clean", "companion", chance=1 / 16),
                score("accuracy_10", "noisy, sigma .10", "companion", chance=1 / 16, unit="512 images, Wilson"),
                score("corrected_drop_10", "corrected, sigma .10", unit="512 images, paired", axis=[-0.5, 1.2]),
                score("relative_drop_10", "relative, sigma .10", "companion", unit="512 images, paired"),
                score("drop_10", "absolute", "detail"),
            ],
            n=512,
            stand_in="rendered shapes, not photographs",
        ),
    ]


def many() -> list[dict[str, Any]]:
    """Two benchmarks in some families, six families, several headlines in one; labels and names that repeat."""
    kadid = {"level alone": 0.6, "SSIM": 0.52, "untrained": 0.4, "untrained sd": 0.03}
    srocc = score(
        "srocc", "SROCC, all pairs", chance=0.0, axis=[-1.0, 1.0], has_verdict=True, ceilings={"rating noise": 0.95},
        baselines=kadid,
    )  # fmt: skip
    within = score("within_level_srocc", "within level", "companion", chance=0.0, axis=[-1.0, 1.0])
    choice = score(
        "accuracy", "two-alternative choice", chance=0.5, ceilings={"agreement": 0.9}, baselines={"PSNR": 0.57}
    )
    gaze = score("cc", "correlation", chance=0.0, baselines={"centre bias": 0.45})
    nss = score("nss", "NSS", chance=0.0, axis=[-1.0, 3.0], baselines={"centre bias": 1.1})
    return [
        *benchmarks(),
        benchmark("human/kadid10k", "alignment", [srocc, within]),
        benchmark("similarity/nights", "alignment", [choice]),
        benchmark("saliency/salicon", "", [gaze, nss]),
        benchmark(
            "noise/cifar100",
            "noise",
            [
                score("accuracy_clean", "clean", "companion", chance=0.01),
                score("accuracy_10", "noisy, sigma .10", "companion", chance=0.01),
                score("corrected_drop_10", "corrected, sigma .10", axis=[-0.5, 1.2]),
                score("relative_drop_10", "relative, sigma .10", "companion"),
            ],
        ),
        benchmark(
            "zero_shot/cifar100", "accuracy", [score("accuracy", "clean", chance=0.01, baselines={"pixels": 0.2})]
        ),
        benchmark(
            "texture/cue_conflict",
            "texture",
            [
                score("texture_bias_corrected", "bias, corrected", drawn_after=2),
                score("shape_hits", "shape hits", "companion", chance=1 / 16),
            ],
        ),
    ]


def six_families() -> list[dict[str, Any]]:
    """One benchmark of one name and one score in each family."""
    families = ("zero_shot", "human", "texture", "noise", "similarity", "saliency")
    return [
        benchmark(f"{f}/b", f, [score("s", "score", chance=0.0, ceilings={"human": 0.9}, baselines={"SSIM": 0.4})])
        for f in families
    ]


def layered(written: Iterator[dict[str, Any]], *suffixes: str) -> Iterator[dict[str, Any]]:
    """The lines with SROCC of TID2013 in other layers, or of other weights, each .03 below the one before."""
    key = "human/tid2013_remade/srocc"
    for line in written:
        found = {k: v for k, v in line.items() if k.startswith(key)}
        more = {
            k.replace(key, key + suffix): v - 0.03 * (1 + n) if isinstance(v, float) else v
            for k, v in found.items()
            for n, suffix in enumerate(suffixes)
        }
        yield {**line, **more}


def shipped() -> list[dict[str, Any]]:
    """The benchmarks of a default run as its record describes them: its ``benchmark`` lines, copied."""
    found: list[dict[str, Any]] = json.loads(Path(__file__).with_name("shipped.json").read_text(encoding="utf-8"))
    return found


def steps(last: int = STEPS) -> list[int]:
    return sorted({0, *(s for s in EARLY if s <= last), *range(0, last + 1, EVERY), last})


def lines(last: int = STEPS, chosen: list[dict[str, Any]] | None = None, seed: int = 0) -> Iterator[dict[str, Any]]:
    """All lines of a run up to step ``last``: started, benchmarks, train and evaluation lines in order."""
    chosen = benchmarks() if chosen is None else chosen
    yield {
        **where(0),
        "kind": "event",
        "event": "started",
        "message": "training tiny on world, 2 ranks",
        "run": f"synthetic-{seed}",
        "max_steps": STEPS,
        "global_batch": BATCH,
        "ranks": 1,
        "evaluations_planned": len(steps()),
        "regular_every": EVERY,
    }
    yield from ({**b, **where(0)} for b in chosen)
    due = steps(last)
    for step in range(last + 1):
        if step and step % 10 == 0:
            yield {
                **where(step),
                "kind": "train",
                "train/loss": 4.85 * math.exp(-step / 500),
                "train/logit_scale": 2.66,
                "train/lr": 2e-3,
                "train/grad_norm": 0.7,
                "time/samples_per_second": 1250.0,
                "time/data_wait_fraction": 0.02,
                "time/left_seconds": (STEPS - step) * 0.11,
            }
        if step in due:
            yield evaluation(step, chosen, seed)


def evaluation(step: int, chosen: list[dict[str, Any]], seed: int = 0) -> dict[str, Any]:
    line = {**where(step), "kind": "evaluation", "time/evaluation_seconds": 2.2, "time/evaluation_fraction": 0.27}
    early = step in EARLY
    for bench in chosen:
        family = bench["key"].split("/")[0]
        if early and family not in ("human", "zero_shot"):
            continue
        for one in bench["scores"]:
            put(line, f"{bench['key']}/{one['name']}", one["name"], step, seed)
    return line


def put(line: dict[str, Any], key: str, name: str, step: int, seed: int) -> None:
    value, half, reason = value_of(name, step, random.Random(f"{seed} {name} {step}"))
    line[key] = value
    line[f"{key}/low"] = None if value is None else value - half
    line[f"{key}/high"] = None if value is None else value + half
    if value is None:
        line[f"{key}/reason"] = reason


def value_of(name: str, step: int, noise: random.Random) -> tuple[float | None, float, str]:
    grown = 1 / (1 + math.exp(-(step - 420) / 110))
    clean = 0.0625 + 0.78 * grown + noise.gauss(0, 0.008)
    jitter = noise.gauss(0, 0.006)
    hits = {"shape_hits": 0.065 + 0.42 * grown, "texture_hits": 0.065 + 0.2 * grown * math.exp(-step / 1500)}
    total = sum(hits.values())
    dip = 0.03 * math.exp(-((step - 60) ** 2) / 4000)
    after = max(step - 400, 0)
    bias = hits["texture_hits"] / total + jitter
    table: dict[str, tuple[float, float]] = {
        "accuracy": (clean, 0.03),
        "accuracy_random_texture": (0.0625 + 0.5 * grown + jitter, 0.035),
        "accuracy_clean": (clean, 0.04),
        "accuracy_10": (0.0625 + (clean - 0.0625) * (1 - 0.35 * grown), 0.04),
        "srocc": (0.53 + 0.20 * grown * math.exp(-after / 2500) - dip + jitter, 0.035),
        "within_level_srocc": (-0.05 + 0.33 * grown * math.exp(-after / 1500) + jitter, 0.06),
        "plcc": (0.5 + 0.1 * grown, 0.05),
        "texture_bias": (bias, 0.06),
        "texture_bias_corrected": (max(0.0, bias - 0.05), 0.08),
        "shape_hits": (hits["shape_hits"] + jitter, 0.03),
        "texture_hits": (hits["texture_hits"] + jitter, 0.02),
        "corrected_drop_10": (0.35 * grown + jitter, 0.03 + 0.2 * (1 - grown)),
        "relative_drop_10": (0.35 * grown * (1 - 0.0625 / clean) + jitter, 0.05),
        "drop_10": (0.35 * grown * (clean - 0.0625), 0.03),
    }  # fmt: skip
    value, half = table.get(name, (0.5 + 0.2 * grown + jitter, 0.05))
    if name.startswith("texture_bias") and (total < 0.25 or step == 900):
        return None, half, f"{total:.2f} of the decisions hit a cue, below .25"
    if name == "corrected_drop_10" and half > 0.2:
        return None, half, f"interval {2 * half:.2f} wide, above .50"
    return value, half, ""


def where(step: int) -> dict[str, Any]:
    return {
        "global_step": step,
        "samples_seen": step * BATCH,
        "epoch": step * BATCH // 20000,
        "wall_seconds": step * 0.11,
    }


def verdicts(last: int = STEPS) -> list[dict[str, Any]]:
    """What a finished run says at its end, in the form of the record."""
    return [
        {
            **where(last),
            "kind": "verdict",
            "score": f"human/tid2013_remade/{name}",
            "rule": 2,
            "word": word,
            "start": 0.53,
            "end": 0.65,
            "rise": 0.17,
            "rise/low": 0.12,
            "rise/earlier": [0, 0],
            "rise/earlier/value": 0.53,
            "rise/later": [540, 600],
            "rise/later/value": 0.7,
            "fall": 0.05,
            "fall/low": 0.011,
            "fall/high": 0.08,
            "fall/earlier": [540, 600],
            "fall/earlier/value": 0.7,
            "fall/later": [last - 60, last],
            "fall/later/value": 0.65,
            "compared": 0.05,
            "compared/earlier": [540, 600],
            "compared/earlier/value": 0.7,
            "compared/later": [last - 60, last],
            "compared/later/value": 0.65,
            "fall_windows": [[540, 600], [last - 60, last]],
            "smallest_detectable_fall": 0.04,
            "stretches": [
                {"direction": "rose", "from": 0, "to": 120, "at_least": 0.05},
                {"direction": "fell", "from": 600, "to": 1200, "at_least": 0.01},
            ],
            "peak_from": 480,
            "peak_to": 780,
            "jitter": 0.0045,
            "jitter_lag_1": 0.1,
            "jitter_lag_1_used": 0.0,
            "evaluations": 26,
            "clusters": 24,
            "left_out": 0,
            "unit": "reference",
            "sentence": f"{name}: rose, then fell in this run. It rose by at least .120 from .530 at step 0 to "
            ".700 over steps 540 to 600. Peak between steps 480 and 780.",
        }
        for name, word in (("srocc", "rose_then_fell"), ("within_level_srocc", "rose_then_fell"))
    ]


def write(folder: Path, written: Iterator[Mapping[str, Any]] | list[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line, allow_nan=False) + "\n" for line in written)
    return folder


def run(folder: Path, last: int = STEPS, status: str = "done", seed: int = 0, **more: Any) -> Path:
    """A whole run folder: record, provenance, config; verdicts where it is done."""
    write(folder, lines(last, seed=seed, **more))
    if status == "done":
        write(folder, verdicts(last))
    (folder / "provenance.json").write_text(
        json.dumps({"status": status, "command": ["train.py", "seed=0"], "seed": seed, "git_commit": "0" * 40})
    )
    (folder / "config.yaml").write_text(f"experiment: synthetic\nseed: {seed}\n")
    return folder
