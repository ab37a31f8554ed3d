"""Generation in this process by mimo-model's engine: the only module that imports mimo_model (extra `local`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mimo_eval.evaluation import Finish, PromptError
from mimo_eval.recipe import Sampling
from mimo_eval.run import EvalError
from mimo_model import Engine, ModelError, encode_prompt, load_model, load_tokenizer
from mimo_model import Sampling as EngineSampling


class LocalModel:
    """A checkpoint that answers prompts under different sampling settings."""

    def __init__(self, checkpoint: Path, *, chat: bool, num_drafts: int) -> None:
        try:
            self._model = load_model(checkpoint)
            self._tokenizer = load_tokenizer(checkpoint)
        except ModelError as error:
            raise EvalError(str(error)) from None
        self._chat = chat
        self._num_drafts = num_drafts

    def generate(
        self, prompts: Sequence[str], seeds: Sequence[int], *, sampling: Sampling, stop: Sequence[str]
    ) -> Iterator[tuple[int, str, int, Finish]]:
        """Yields (index, response, number of tokens, finish) as responses end; see `evaluation.Generator`.

        Think tags stay in the text, the end token does not.

        Raises:
            EvalError: the model cannot serve these settings or one of the prompts.
        """
        try:
            engine = Engine(self._model, self._tokenizer, num_drafts=self._num_drafts)
            positions = {}
            for position, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
                settings = EngineSampling(
                    temperature=sampling.temperature, top_p=sampling.top_p, max_tokens=sampling.max_tokens, seed=seed
                )
                try:
                    positions[engine.submit(self._encode(prompt), settings)] = position
                except ValueError as error:  # empty, or longer than the model's context
                    raise PromptError(position, str(error)) from None
        except (ValueError, ModelError) as error:  # too few MTP layers
            raise EvalError(str(error)) from None
        while engine.pending:
            for request, completion in engine.step():
                tokens = list(completion.tokens)
                text_tokens = tokens[:-1] if completion.finish == "stop" else tokens
                text = str(self._tokenizer.decode(text_tokens, skip_special_tokens=False))
                ends = [end for end in map(text.find, stop) if end >= 0]
                yield positions[request], text[: min(ends, default=len(text))], len(tokens), completion.finish

    def _encode(self, prompt: str) -> list[int]:
        if self._chat:
            return encode_prompt(self._tokenizer, prompt)
        return list(self._tokenizer.encode(prompt, add_special_tokens=False))
