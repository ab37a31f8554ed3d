"""Training of a student on labelled documents, with the calibration that documents of unseen sites give."""

from __future__ import annotations

import random
from collections.abc import Sequence
from hashlib import sha256
from urllib.parse import urlsplit

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from mimo_data.documents import Document
from mimo_data.run import DataError
from mimo_data.tag.bag import new_student
from mimo_data.tag.calibration import calibrate
from mimo_data.tag.checkpoint import HeadCalibration
from mimo_data.tag.extra import first_line
from mimo_data.tag.heads import Heads
from mimo_data.tag.recipe import BAG, TaggerRecipe
from mimo_data.tag.windows import Windows, batches, tokenize

_WARMUP_SHARE = 0.05
# Memory of a step or a prediction: a bound on the tokens that go through the model at once.
_BATCH_TOKENS = 1 << 15
# The tokenizer of a bag learns from the heads of documents: frequent tokens are frequent everywhere.
_TOKENIZER_CHARACTERS = 20_000


def train(
    documents: Sequence[Document], heads: Heads, recipe: TaggerRecipe
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, dict[str, HeadCalibration]]:
    """A student of all documents, and how heads are to be calibrated, from students of all but one fold of sites."""
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        model, tokenizer = _untrained(documents, heads, recipe)
        texts = [document.text for document in documents]
        windows = tokenize(texts, tokenizer, num_windows=recipe.num_windows, window_tokens=recipe.window_tokens)
        targets = torch.tensor([heads.targets(document.tags) for document in documents])
        folds = torch.tensor(_folds(documents, recipe.num_folds))
        start = {name: value.clone() for name, value in model.state_dict().items()}
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model.to(device)  # type: ignore[arg-type]
        logits = torch.zeros(len(documents), len(heads.logit_names))
        for fold in range(recipe.num_folds):
            seen, unseen = (folds != fold).nonzero().flatten().tolist(), (folds == fold).nonzero().flatten().tolist()
            model.load_state_dict(start)
            _fit(model, windows, targets, seen, heads, recipe)
            logits[unseen] = predict(model, [windows[number] for number in unseen])
        model.load_state_dict(start)
        _fit(model, windows, targets, list(range(len(documents))), heads, recipe)
    calibrations = {}
    for column, name in enumerate(heads.answers):
        known = targets[:, column] >= 0
        if known.any():
            head = logits[known, heads.columns[name]]
            calibrations[name] = calibrate(heads, name, head, targets[known, column], folds[known])
    return model, tokenizer, calibrations


@torch.inference_mode()
def predict(model: PreTrainedModel, documents: Sequence[Windows]) -> Tensor:
    """float32 [documents, logits] on the CPU: the mean over each document's windows."""
    model.train(False)
    return _mean_logits(model, documents).cpu()


def _mean_logits(model: PreTrainedModel, documents: Sequence[Windows]) -> Tensor:
    pad_id = int(model.config.pad_token_id or 0)
    total = torch.zeros(len(documents), len(model.config.id2label or {}), device=model.device)
    for batch in batches(documents, batch_tokens=_BATCH_TOKENS, pad_id=pad_id):
        found = model(input_ids=batch.input_ids.to(model.device), attention_mask=batch.attention_mask.to(model.device))
        total = total.index_add(0, batch.owners.to(model.device), found.logits.float())
    return total / torch.tensor([[len(windows)] for windows in documents], device=model.device)


def _untrained(
    documents: Sequence[Document], heads: Heads, recipe: TaggerRecipe
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    if recipe.base == BAG:
        texts = (document.text[:_TOKENIZER_CHARACTERS] for document in documents)
        return new_student(texts, heads.logit_names, recipe.window_tokens)
    try:
        tokenizer = AutoTokenizer.from_pretrained(recipe.base)
        model = AutoModelForSequenceClassification.from_pretrained(
            recipe.base,
            id2label=dict(enumerate(heads.logit_names)),
            label2id={name: number for number, name in enumerate(heads.logit_names)},
            ignore_mismatched_sizes=True,
            dtype=torch.float32,
        )
    # Damaged files make transformers raise whatever comes of them, TypeError and safetensors' own among it.
    except Exception as error:
        raise DataError(
            f"{recipe.base}: not a base for a tagger: {first_line(error)}. "
            f"Name a folder or hub id of a sequence classifier or an encoder, or `{BAG}`."
        ) from None
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer


def _folds(documents: Sequence[Document], num_folds: int) -> list[int]:
    """A fold for each document, the same for all of one site, of about equal sizes."""
    sites = [urlsplit(document.url).hostname or document.id for document in documents]
    if len(set(sites)) < num_folds:
        sites = [document.id for document in documents]
    sizes = [0] * num_folds
    fold_of = {}
    for site in sorted(set(sites), key=lambda site: (-sites.count(site), sha256(site.encode()).digest())):
        fold_of[site] = sizes.index(min(sizes))
        sizes[fold_of[site]] += sites.count(site)
    return [fold_of[site] for site in sites]


def _fit(
    model: PreTrainedModel,
    documents: Sequence[Windows],
    targets: Tensor,
    seen: list[int],
    heads: Heads,
    recipe: TaggerRecipe,
) -> None:
    """AdamW over shuffled batches of documents; the rate rises over a twentieth of the steps and falls to zero."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.peak_learning_rate, weight_decay=recipe.weight_decay)
    num_steps = recipe.num_epochs * -(-len(seen) // recipe.batch_documents)
    num_warmup = max(1, round(_WARMUP_SHARE * num_steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / num_warmup, (num_steps - step) / num_steps)
    )
    order = list(seen)
    shuffle = random.Random(recipe.seed).shuffle
    model.train()
    for _ in range(recipe.num_epochs):
        shuffle(order)
        for first in range(0, len(order), recipe.batch_documents):
            chosen = order[first : first + recipe.batch_documents]
            found = _mean_logits(model, [documents[number] for number in chosen])
            loss = heads.loss(found, targets[chosen].to(model.device))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
