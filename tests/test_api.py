# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import doctest

import pytest

import clip_align as ca
from clip_align import api


def test_the_examples_in_the_documentation_run() -> None:
    assert doctest.testmod(api).failed == 0


def test_an_unknown_name_is_none_of_its_functions() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'evaluat'"):
        _ = ca.evaluat
