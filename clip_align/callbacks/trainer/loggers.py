# SPDX-License-Identifier: Apache-2.0
"""Scores into the loggers of a Trainer that is not clip-align's own (wandb, TensorBoard, csv, MLflow, …)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pytorch_lightning import Trainer
from pytorch_lightning.loggers import MLFlowLogger

NOT_IN_MLFLOW = re.compile(r"[^\w\-. :/]")  # characters that its servers refuse in the name of a metric


def log_scores(trainer: Trainer, step: int, scores: Mapping[str, float | None]) -> None:
    """Give an event's scores to every logger of the trainer, each under its key; undefined ones are left out.

    Args:
        trainer: whose loggers they are; each decides for itself on which rank it writes.
        step: optimizer steps, which is also the step that the loggers get.
        scores: by key, None where undefined.
    """
    defined = {key: value for key, value in scores.items() if value is not None}
    for logger in trainer.loggers if defined else ():
        # layers and sets of weights are suffixes that begin with @
        mlflow = isinstance(logger, MLFlowLogger)
        named = {NOT_IN_MLFLOW.sub(".", key): value for key, value in defined.items()} if mlflow else defined
        logger.log_metrics(dict(named), step=step)  # a copy: loggers add the step to what they are given
