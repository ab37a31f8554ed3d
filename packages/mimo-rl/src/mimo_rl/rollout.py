"""Responses of the policy, each graded as soon as it is finished while others are decoded (§3.4.1)."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from transformers import PreTrainedTokenizerBase

from mimo_eval import Grade, grade
from mimo_model import Completion, Engine, MiMoConfig, MiMoForCausalLM, Sampling, encode_prompt
from mimo_rl.errors import RLError
from mimo_rl.problems import CuratedProblem
from mimo_rl.recipe import Generation, Judge, Record
from mimo_sandbox import Limits, Sandbox, SandboxUnavailable

JUDGE_ATTEMPTS = 3
JUDGE_PAUSE_S = 1.0


class Rollout(Record, frozen=True, kw_only=True):
    """One response, how it was made, and whether it is right."""

    problem_id: str
    index: int
    """Within the group, from 0."""

    seed: int
    """Of the response's random draws; the same policy, prompt and seed write the same response."""

    policy_version: int
    """Gradient updates that the policy had seen when it wrote the response."""

    text: str
    """The response without its end-of-text token."""

    tokens: tuple[int, ...]
    """The response, the end-of-text token included when `finish` is "stop"."""

    logprobs: tuple[float, ...]
    """One per token, as the engine computed them while sampling. Training recomputes them."""

    finish: Literal["stop", "length", "abort"]
    num_drafted: tuple[int, ...]
    """Tokens drafted, per MTP layer."""

    num_accepted: tuple[int, ...]
    """Drafted tokens that were accepted, per MTP layer."""

    grade: Grade
    generated_s: float
    """From the start of the round to the response's last token."""

    graded_s: float
    """From the start of the round to the response's grade."""


@dataclass(frozen=True)
class Group:
    """A problem and its responses, in the order of their index."""

    problem: CuratedProblem
    prompt: tuple[int, ...]
    rollouts: tuple[Rollout, ...]

    @property
    def pass_rate(self) -> float:
        """Share of right responses."""
        return sum(rollout.grade.correct for rollout in self.rollouts) / len(self.rollouts)


def require_fit(config: MiMoConfig, model: Path, generation: Generation, sequence_length: int) -> None:
    """Checks that a model can write sequences of this length, with the drafts that are asked for.

    Raises:
        RLError: its context is shorter, or it has fewer MTP layers.
    """
    if sequence_length > config.max_position_embeddings:
        raise RLError(
            f"{model}/config.json: max_position_embeddings is {config.max_position_embeddings}, but the recipe has "
            f"sequences of up to {sequence_length} tokens. Raise it in a copy of the checkpoint, or lower "
            "sequence_length."
        )
    if generation.num_drafts > config.num_nextn_predict_layers:
        raise RLError(
            f"{model}/config.json: has {config.num_nextn_predict_layers} MTP layers, but the recipe drafts with "
            f"{generation.num_drafts}. Lower generation.num_drafts."
        )


class RolloutWorker:
    """Writes and grades responses of a model, as it is when asked; a context manager, for its sandbox and threads.

    What is written depends on weights, prompts and seeds alone: grading runs beside the decoding and takes
    part in no decision before the round ends. Grades of programs that come close to a time limit can differ
    between runs.
    """

    def __init__(
        self,
        model: MiMoForCausalLM,
        tokenizer: PreTrainedTokenizerBase,
        *,
        generation: Generation,
        judge: Judge | None,
    ) -> None:
        """`judge` is None when no problem holds a program to run."""
        self._model = model
        self._tokenizer = tokenizer
        self._generation = generation
        self._sandbox: Sandbox | None = None
        if judge is not None:
            limits = Limits(cpu_s=judge.cpu_s, wall_s=judge.wall_s, memory_bytes=judge.memory_bytes)
            self._sandbox = Sandbox(num_workers=judge.num_workers, limits=limits)

    def __enter__(self) -> RolloutWorker:
        self._runner = asyncio.Runner()
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="decoder")
        if self._sandbox is not None:
            self._runner.run(self._sandbox.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._sandbox is not None:
                self._runner.run(self._sandbox.__aexit__(kind, error, trace))
        finally:
            self._runner.close()
            self._decoder.shutdown()

    def prompt(self, problem: CuratedProblem) -> tuple[int, ...]:
        """Tokens of the problem as one user message, up to where the response starts."""
        return tuple(encode_prompt(self._tokenizer, problem.prompt))

    def rollout(
        self,
        problems: Sequence[CuratedProblem],
        *,
        num_responses: int,
        sequence_length: int,
        seed: str,
        policy_version: int,
    ) -> list[Group]:
        """Writes and grades `num_responses` responses to each problem; groups come in the order of the
        problems.

        Args:
            sequence_length: of prompt and response together; a response that reaches it is cut and graded
                as it is.
            seed: with the problem's id and the response's index, of every draw.

        Raises:
            RLError: a prompt leaves no room for a response.
            SandboxUnavailable: the judge stayed broken after being asked again; no reward stands in for it.
        """
        return self._runner.run(self._rollout(problems, num_responses, sequence_length, seed, policy_version))

    def grade_all(self, responses: Sequence[tuple[CuratedProblem, str]]) -> list[Grade]:
        """Grades texts that no rollout wrote; raises as `rollout` does."""

        async def gather() -> list[Grade]:
            return list(await asyncio.gather(*(self._grade(problem, text) for problem, text in responses)))

        return self._runner.run(gather())

    async def _rollout(
        self,
        problems: Sequence[CuratedProblem],
        num_responses: int,
        sequence_length: int,
        seed: str,
        policy_version: int,
    ) -> list[Group]:
        start_s = time.monotonic()
        # A new engine for each round: what it decodes then follows from weights, prompts and seeds alone, and not
        # from how large earlier rounds made its caches. So a resumed run repeats an uninterrupted one to the bit.
        engine = Engine(
            self._model,
            self._tokenizer,
            num_drafts=self._generation.num_drafts,
            max_batch_size=self._generation.max_batch_size,
        )
        prompts = [self.prompt(problem) for problem in problems]
        requests: dict[int, tuple[int, int, int]] = {}
        for row, (problem, prompt) in enumerate(zip(problems, prompts, strict=True)):
            max_tokens = sequence_length - len(prompt)
            if max_tokens < 1:
                raise RLError(
                    f"problem {problem.id}: its prompt of {len(prompt)} tokens leaves no room for a "
                    f"response in {sequence_length}. Raise sequence_length or drop the problem."
                )
            for index in range(num_responses):
                request_seed = _request_seed(seed, problem.id, index)
                sampling = Sampling(
                    temperature=self._generation.temperature,
                    top_p=self._generation.top_p,
                    max_tokens=max_tokens,
                    seed=request_seed,
                )
                requests[engine.submit(list(prompt), sampling)] = (row, index, request_seed)

        async def finish(request: int, completion: Completion) -> tuple[int, Rollout]:
            generated_s = time.monotonic() - start_s
            row, index, request_seed = requests[request]
            ended = completion.tokens[:-1] if completion.finish == "stop" else completion.tokens
            text = str(self._tokenizer.decode(list(ended), skip_special_tokens=False))
            found = await self._grade(problems[row], text)
            return row, Rollout(
                problem_id=problems[row].id,
                index=index,
                seed=request_seed,
                policy_version=policy_version,
                text=text,
                tokens=completion.tokens,
                logprobs=completion.logprobs,
                finish=completion.finish,
                num_drafted=completion.num_drafted,
                num_accepted=completion.num_accepted,
                grade=found,
                generated_s=round(generated_s, 4),
                graded_s=round(time.monotonic() - start_s, 4),
            )

        loop = asyncio.get_running_loop()
        grading: list[asyncio.Task[tuple[int, Rollout]]] = []
        while engine.pending:
            # In a thread of its own, so that grades proceed while the model computes.
            for request, completion in await loop.run_in_executor(self._decoder, engine.step):
                grading.append(asyncio.create_task(finish(request, completion)))
        rollouts: list[list[Rollout]] = [[] for _ in problems]
        for row, rollout in await asyncio.gather(*grading):
            rollouts[row].append(rollout)
        return [
            Group(problem, prompt, tuple(sorted(of_problem, key=lambda rollout: rollout.index)))
            for problem, prompt, of_problem in zip(problems, prompts, rollouts, strict=True)
        ]

    async def _grade(self, problem: CuratedProblem, response: str) -> Grade:
        """A broken judge is asked again, then reported; it never becomes a wrong answer."""
        for attempt in range(1, JUDGE_ATTEMPTS + 1):
            try:
                return await grade(problem, response, self._sandbox)
            except SandboxUnavailable:
                if attempt == JUDGE_ATTEMPTS:
                    raise
                await asyncio.sleep(JUDGE_PAUSE_S * attempt)
        raise AssertionError("the last attempt returns or raises")


def _request_seed(seed: str, problem_id: str, index: int) -> int:
    digest = hashlib.blake2b(f"{seed}/{problem_id}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
