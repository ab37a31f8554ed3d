"""The tagger: domain, quality, knowledge density and reasoning depth of a document from a small language model (§2.1).

A checkpoint is a plain Hugging Face sequence classifier with `tagger.json` beside it: the card, what is read of a
document, and the calibration. A tag is the most probable answer; its `…_confidence` is how probable, after calibration.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import msgspec
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from mimo_data.documents import Document
from mimo_data.run import DataError
from mimo_data.tag import train as training
from mimo_data.tag.calibration import calibrated
from mimo_data.tag.card import LabelCard, load_card
from mimo_data.tag.checkpoint import TaggerFile
from mimo_data.tag.extra import first_line
from mimo_data.tag.heads import Heads
from mimo_data.tag.recipe import TaggerRecipe
from mimo_data.tag.windows import tokenize

_FILE = "tagger.json"
# What explains that a folder cannot be loaded; large models have their weights in several files.
_FILES = (_FILE, "config.json", "tokenizer.json")
# Documents that are read ahead, so that windows of like length share a batch.
_CHUNK_DOCUMENTS = 256


class Tagger:
    """A trained student.

    Attributes:
        card: what the tags mean.
        heads: by tag, how well it is known: accuracy and calibration on sites that training did not see.
        num_documents: labelled documents that it has learnt from.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: TaggerFile) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._settings = settings
        self._layout = Heads(settings.card)
        self.card = settings.card
        self.heads = settings.heads
        self.num_documents = settings.num_documents

    @classmethod
    def train(
        cls, documents: Iterable[Document], recipe: TaggerRecipe | None = None, *, card: LabelCard | None = None
    ) -> Tagger:
        """A student of the documents whose tags hold answers of the card; a document may have some of them only.

        The defaults train from nothing, in about half a minute of one core for some hundred documents. The same
        documents in the same order give the same tagger.

        Args:
            card: what the tags mean; without one, the recipe's, which is this package's if it names none.

        Raises:
            DataError: a tag is not on the card, or there are too few labelled documents, or the base is no model.
        """
        recipe = recipe or TaggerRecipe()
        card = card or load_card(Path(recipe.card) if recipe.card else None)
        labelled = []
        for document in documents:
            try:
                tags = card.known(document.tags)
            except ValueError as error:
                raise DataError(f"{document.id}: {error}. Correct the tag, or train with a card that has it.") from None
            if tags:
                labelled.append(msgspec.structs.replace(document, tags=tags))
        if len(labelled) < 2 * recipe.num_folds:
            raise DataError(
                f"{len(labelled)} documents have a tag of the card ({', '.join(card.answers)}); training needs "
                f"{2 * recipe.num_folds} at the very least. Label some with `mimo-data label`."
            )
        model, tokenizer, heads = training.train(labelled, Heads(card), recipe)
        settings = TaggerFile(
            card=card,
            num_windows=recipe.num_windows,
            window_tokens=recipe.window_tokens,
            num_documents=len(labelled),
            heads=heads,
        )
        return cls(model, tokenizer, settings)

    @classmethod
    def load(cls, folder: Path) -> Tagger:
        """The tagger that `save` wrote, on a GPU if there is one.

        Raises:
            DataError: the folder is not a tagger's.
        """
        try:
            settings = msgspec.json.decode((folder / _FILE).read_bytes(), type=TaggerFile)
            tokenizer = AutoTokenizer.from_pretrained(folder)
            model = AutoModelForSequenceClassification.from_pretrained(folder)
        # Damaged files make transformers raise whatever comes of them, TypeError and safetensors' own among it.
        except Exception as error:
            missing = [name for name in _FILES if not (folder / name).is_file()]
            problem = f"there is no {', '.join(missing)}" if missing else first_line(error)
            raise DataError(f"{folder}: not a tagger: {problem}. Make one with `mimo-data train-tagger`.") from None
        return cls(model.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer, settings)

    def save(self, folder: Path) -> None:
        """Writes model, tokenizer and `tagger.json`."""
        self._model.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)
        (folder / _FILE).write_bytes(msgspec.json.format(msgspec.json.encode(self._settings), indent=1) + b"\n")

    def tag(self, documents: Iterable[Document]) -> Iterator[Document]:
        """The documents in their order, with a tag and its confidence for each head; other tags stay."""
        remaining = iter(documents)
        while chunk := list(islice(remaining, _CHUNK_DOCUMENTS)):
            for document, tags in zip(chunk, self._tags([document.text for document in chunk]), strict=True):
                yield msgspec.structs.replace(document, tags={**document.tags, **tags})

    def _tags(self, texts: list[str]) -> list[dict[str, str]]:
        windows = tokenize(
            texts,
            self._tokenizer,
            num_windows=self._settings.num_windows,
            window_tokens=self._settings.window_tokens,
        )
        logits = training.predict(self._model, windows)
        tags: list[dict[str, str]] = [{} for _ in texts]
        for name, head in self.heads.items():
            found = calibrated(logits[:, self._layout.columns[name]], head)
            probabilities = self._layout.probabilities(name, found)
            choices = self._layout.choices(name, probabilities)
            confidences = probabilities.gather(1, choices[:, None]).squeeze(1)
            for row, choice, confidence in zip(tags, choices.tolist(), confidences.tolist(), strict=True):
                row[name] = self._layout.answers[name][choice]
                row[f"{name}_confidence"] = f"{confidence:.2f}"
        return tags
