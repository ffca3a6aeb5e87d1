# SPDX-License-Identifier: Apache-2.0
"""How the run that tests resume was started."""

STARTED = ["name=a", "callbacks=[world]", "evaluation.every_n_steps=7", "trainer.max_steps=50", "seed=3"]
