# SPDX-License-Identifier: Apache-2.0
"""Benchmarks written as an outside package would write them, from the docs and the toolkit alone."""
