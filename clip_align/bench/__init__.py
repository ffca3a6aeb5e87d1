# SPDX-License-Identifier: Apache-2.0
"""Evaluate given weights: the checkpoints of a run, of other trainers, encoders, observers; a record of its own."""
