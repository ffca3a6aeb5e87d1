# SPDX-License-Identifier: Apache-2.0
"""Captions of the world's images, and the zero-shot prompts of their classes in the same words."""

from __future__ import annotations

from collections.abc import Sequence

from clip_align.data.world.backgrounds import BACKGROUNDS
from clip_align.data.world.colours import COLOURS
from clip_align.data.world.recipe import Recipe
from clip_align.data.world.scenes import Scenes, pick
from clip_align.data.world.shapes import SHAPES
from clip_align.data.world.textures import TEXTURES

PROMPTS = ("a photo of {}", "a picture of {}", "an image of {}", "{}", "this is {}", "there is {}")
PHRASES = {  # of a background's kind
    "cloudy": ("on a cloudy background", "in front of clouds", "in the fog"),
    "leafy": ("on a leafy background", "in front of leaves", "among leaves"),
}


def with_article(words: str) -> str:
    """The words with their indefinite article: "an arrow", "a red star"."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def class_prompts(names: Sequence[str] = SHAPES) -> dict[str, list[str]]:
    """Prompts by class: every template with the class's name."""
    return {name: [template.format(with_article(name)) for template in PROMPTS] for name in names}


def captions(recipe: Recipe, scenes: Scenes) -> list[str]:
    """One caption per scene: always the shape; colour, texture and background each with its own probability."""
    draws = scenes.draws
    template = pick(draws["template"], len(PROMPTS))
    words = {
        "colour": draws["colour_word"] < recipe.colour_words,
        "texture": draws["texture_word"] < recipe.texture_words,
        "background": draws["background_word"] < recipe.background_words,
    }
    made = []
    for row in range(len(scenes)):
        noun = [
            *([COLOURS[scenes.first[row]]] if words["colour"][row] else []),
            *([TEXTURES[scenes.texture[row]]] if words["texture"][row] else []),
            SHAPES[scenes.shape[row]],
        ]
        text = PROMPTS[template[row]].format(with_article(" ".join(noun)))
        if words["background"][row]:
            phrases = PHRASES[BACKGROUNDS[scenes.background[row]]]
            text += " " + phrases[int(draws["phrase"][row] * len(phrases))]
        made.append(text)
    return made
