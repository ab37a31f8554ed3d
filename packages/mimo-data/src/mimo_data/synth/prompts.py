"""What the endpoint is asked, from a seed: templates with one `{{seed}}`, those of this package among them.

| strategy (§2.1) | templates here |
| --- | --- |
| STEM texts, to analyse and think about in depth | think-deeply, examine, ask-and-answer |
| mathematics and code problems | solve-mathematics, solve-code |
| general queries, creative writing among them | answer, write |

The report does not show its prompts; these are ours.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from mimo_data.run import RecipeError

_PLACE = "{{seed}}"
_FOLDER = Path(__file__).parent / "prompts"


class Template:
    """One way to ask about a seed."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            RecipeError: the file is missing, or does not hold `{{seed}}` once.
        """
        self.name = path.stem
        try:
            self._text = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"{path}: not a prompt: {error}.") from None
        if self._text.count(_PLACE) != 1:
            raise RecipeError(
                f"{path}: a prompt holds {_PLACE} exactly once, this one {self._text.count(_PLACE)} times."
            )

    def fill(self, seed: str) -> str:
        """The prompt about one seed."""
        return self._text.replace(_PLACE, seed.strip())


def template_path(name: str) -> Path:
    """Where a template lies: a `.txt` file of the reader's own, or one of this package by its name.

    Raises:
        RecipeError: there is no template of that name.
    """
    if name.endswith(".txt"):
        return Path(name)
    path = _FOLDER / f"{name}.txt"
    if not path.is_file():
        known = ", ".join(sorted(found.stem for found in _FOLDER.glob("*.txt")))
        raise RecipeError(f"prompts: {name!r} is none of {known}. Name one of them, or a file that ends in .txt.")
    return path


def choose(templates: list[Template], request: str, seed: int) -> Template:
    """The template for one request: drawn by its id, so that every kind of seed meets every template."""
    digest = hashlib.sha256(f"{seed}\n{request}".encode()).digest()
    return templates[int.from_bytes(digest[:8], "big") % len(templates)]
