"""The HTTP server, asked over a real socket by the openai client and by httpx."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import httpx
import openai
import pytest
import torch
from mimo_model_cli import main

from mimo_model import Engine, ModelError, Sampling, generate, load_model
from mimo_model.text import split_reasoning

uvicorn = pytest.importorskip("uvicorn", reason="needs uvicorn and starlette: install mimo-model[serve]")
pytest.importorskip("starlette", reason="needs uvicorn and starlette: install mimo-model[serve]")

from mimo_model.serving.server import bind, create_app  # noqa: E402

NUM_DRAFTS = 3


@contextlib.contextmanager
def served(model, tokenizer, *, api_key: str | None = None, num_drafts: int = NUM_DRAFTS, **options) -> Iterator[str]:
    """The address of a server in a thread."""
    engine = Engine(model, tokenizer, num_drafts=num_drafts, **options)
    app = create_app(engine, tokenizer, model_name="tiny", api_key=api_key)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
    listener = bind("127.0.0.1", 0)
    listener.listen()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def url(drafting_model, tokenizer) -> Iterator[str]:
    with served(drafting_model, tokenizer) as address:
        yield address


@pytest.fixture
def endless_model(checkpoint):
    """Never stops by itself, and has a context that takes it minutes to fill."""
    model = load_model(checkpoint)
    model.generation_config.eos_token_id = 270  # a padded id
    model.config.max_position_embeddings = 1_000_000
    return model


@pytest.fixture
def http(url) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        yield client


@pytest.fixture
def client(url) -> Iterator[openai.OpenAI]:
    with httpx.Client(trust_env=False) as transport:
        yield openai.OpenAI(base_url=f"{url}/v1", api_key="none", http_client=transport, max_retries=0, timeout=60)


def messages(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def expected_text(model, tokenizer, prompt: str, **sampling) -> str:
    (completion,) = generate(model, tokenizer, [prompt], Sampling(**sampling), num_drafts=NUM_DRAFTS)
    return tokenizer.decode(completion.tokens, skip_special_tokens=True)


def metrics(http: httpx.Client) -> dict[str, float]:
    lines = http.get("/metrics").raise_for_status().text.splitlines()
    return {name: float(value) for name, value in (line.split(" ") for line in lines if not line.startswith("#"))}


def test_the_one_model_is_listed(client):
    (model,) = client.models.list().data
    assert (model.id, model.max_model_len) == ("tiny", 128)
    assert client.models.retrieve("tiny").id == "tiny"
    with pytest.raises(openai.NotFoundError, match="`gpt` is not served here; this is `tiny`"):
        client.models.retrieve("gpt")


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_a_chat_answers_what_the_engine_generates(client, drafting_model, tokenizer, temperature):
    found = client.chat.completions.create(
        model="tiny", messages=messages("hello"), max_tokens=30, temperature=temperature, top_p=0.9, seed=5
    )
    options = {"max_tokens": 30, "temperature": temperature, "top_p": 0.9, "seed": 5}
    assert found.choices[0].message.content == expected_text(drafting_model, tokenizer, "hello", **options)
    assert found.choices[0].finish_reason == "length"
    assert (found.usage.prompt_tokens, found.usage.completion_tokens, found.usage.total_tokens) == (5, 30, 35)
    drafted, accepted = found.usage.drafted_tokens, found.usage.accepted_tokens
    assert len(drafted) == len(accepted) == NUM_DRAFTS
    assert 0 < accepted[0] <= drafted[0] < 30


def test_answers_are_as_recommended_for_mimo_unless_asked_otherwise(client, drafting_model, tokenizer):
    found = client.chat.completions.create(model="tiny", messages=messages("hello"), seed=7)
    options = {"max_tokens": 123, "temperature": 0.6, "top_p": 0.95, "seed": 7}
    assert found.choices[0].message.content == expected_text(drafting_model, tokenizer, "hello", **options)


@pytest.mark.parametrize("separate_reasoning", [False, True])
@pytest.mark.parametrize("prompt", ["hello", "so <think>"])
def test_a_streamed_chat_is_the_whole_one(client, prompt, separate_reasoning):
    options = {
        "model": "tiny",
        "messages": messages(prompt),
        "max_tokens": 40,
        "seed": 3,
        "n": 3,
        "temperature": 1.0,
        "logprobs": True,
        "extra_body": {"separate_reasoning": separate_reasoning},
    }
    whole = client.chat.completions.create(**options)
    contents, reasonings, logprobs, finishes = [""] * 3, [""] * 3, [[], [], []], [None] * 3
    usage = None
    for chunk in client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage
        for choice in chunk.choices:
            contents[choice.index] += choice.delta.content or ""
            reasonings[choice.index] += getattr(choice.delta, "reasoning_content", "")
            logprobs[choice.index] += choice.logprobs.content if choice.logprobs else []
            finishes[choice.index] = choice.finish_reason or finishes[choice.index]
    assert contents == [choice.message.content for choice in whole.choices]
    assert reasonings == [getattr(choice.message, "reasoning_content", "") for choice in whole.choices]
    assert any(reasonings) == (separate_reasoning and prompt != "hello")
    assert logprobs == [choice.logprobs.content for choice in whole.choices]
    assert finishes == [choice.finish_reason for choice in whole.choices]
    assert usage == whole.usage
    assert len(set(contents + reasonings)) > 2  # choices have seeds of their own


def test_reasoning_is_split_off_on_request(client):
    whole = client.chat.completions.create(model="tiny", messages=messages("<think>"), seed=1, max_tokens=20)
    split = client.chat.completions.create(
        model="tiny", messages=messages("<think>"), seed=1, max_tokens=20, extra_body={"separate_reasoning": True}
    )
    message = split.choices[0].message
    assert (message.reasoning_content, message.content) == split_reasoning(
        whole.choices[0].message.content, opened=True
    )


def test_simultaneous_streams_get_what_each_gets_alone(url, drafting_model, tokenizer):
    prompts = [f"question {number}" for number in range(24)]

    async def ask(client: openai.AsyncOpenAI, seed: int) -> str:
        stream = await client.chat.completions.create(
            model="tiny",
            messages=messages(prompts[seed]),
            seed=seed,
            max_tokens=10 + seed,
            temperature=1.0,
            stream=True,
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def ask_all() -> list[str]:
        async with httpx.AsyncClient(trust_env=False) as transport:
            client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", http_client=transport, timeout=60)
            return await asyncio.gather(*(ask(client, seed) for seed in range(len(prompts))))

    alone = [
        expected_text(drafting_model, tokenizer, prompt, seed=seed, max_tokens=10 + seed, temperature=1.0, top_p=0.95)
        for seed, prompt in enumerate(prompts)
    ]
    assert asyncio.run(ask_all()) == alone


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("hello", ["hello"]),
        (["hello", "you"], ["hello", "you"]),
        ([71, 68, 75, 75, 78], ["hello"]),
        ([[71, 68, 75, 75, 78], [88, 78, 84]], ["hello", "you"]),
    ],
)
def test_completions_go_on_from_text_or_token_ids(client, drafting_model, tokenizer, prompt, texts):
    options = {"model": "tiny", "prompt": prompt, "seed": 3, "n": 2, "temperature": 0.8, "top_p": 1.0}
    found = client.completions.create(**options)
    expected = [
        expected_text(drafting_model, tokenizer, text, max_tokens=16, temperature=0.8, seed=3 + 2 * place + choice)
        for place, text in enumerate(texts)
        for choice in range(2)
    ]
    assert [(choice.index, choice.text) for choice in found.choices] == list(enumerate(expected))
    assert found.usage.prompt_tokens == sum(map(len, texts))
    streamed = [""] * len(expected)
    for chunk in client.completions.create(**options, stream=True):
        streamed[chunk.choices[0].index] += chunk.choices[0].text
    assert streamed == expected


def test_text_ends_before_a_stop_string(client):
    options = {"model": "tiny", "messages": messages("hello"), "max_tokens": 60, "seed": 2}
    whole = client.chat.completions.create(**options).choices[0].message.content
    stop = whole[20:23]
    for stops in (stop, ["never to be seen", stop]):
        cut = client.chat.completions.create(**options, stop=stops)
        assert cut.choices[0].message.content == whole[: whole.index(stop)]
        assert cut.choices[0].finish_reason == "stop"
        assert cut.usage.completion_tokens < 60


def test_logprobs_are_those_of_the_sampled_tokens(client, drafting_model, tokenizer):
    (completion,) = generate(
        drafting_model, tokenizer, ["hello"], Sampling(max_tokens=20, temperature=0.0), num_drafts=NUM_DRAFTS
    )
    options = {"model": "tiny", "max_tokens": 20, "temperature": 0.0}
    chat = client.chat.completions.create(**options, messages=messages("hello"), logprobs=True).choices[0]
    assert [entry.logprob for entry in chat.logprobs.content] == list(completion.logprobs)
    data = bytes(byte for entry in chat.logprobs.content for byte in entry.bytes)
    assert data.decode(errors="replace") == tokenizer.decode(completion.tokens)
    legacy = client.completions.create(**options, prompt="hello", logprobs=0).choices[0]
    assert legacy.logprobs.token_logprobs == list(completion.logprobs)
    assert client.chat.completions.create(**options, messages=messages("hello")).choices[0].logprobs is None


@pytest.mark.parametrize(
    "extra",
    [
        {"user": "me", "metadata": {"a": "b"}, "store": False},
        {"tools": [], "tool_choice": "none", "response_format": {"type": "text"}, "logit_bias": {}, "stop": None},
        {"frequency_penalty": 0, "presence_penalty": 0.0, "parallel_tool_calls": True},
        {"max_completion_tokens": 2, "max_tokens": 2, "top_k": 5, "top_logprobs": 0},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}], "name": "me"}]},
        {
            "messages": [
                {"role": "developer", "content": "be brief"},
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": "ho", "reasoning_content": "hm", "tool_calls": None},
                {"role": "user", "content": "hello"},
            ]
        },
        {"model": None},
    ],
)
def test_fields_without_effect_on_the_answer_are_accepted(http, extra):
    body = {"model": "tiny", "messages": messages("hello"), "max_completion_tokens": 2, **extra}
    answer = http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("extra", "status", "param", "message"),
    [
        ({"tools": [{"type": "function"}]}, 400, "tools", "tools is not supported"),
        ({"response_format": {"type": "json_object"}}, 400, "response_format", "not supported"),
        ({"logit_bias": {"5": 1}}, 400, "logit_bias", "not supported"),
        ({"frequency_penalty": 0.5}, 400, "frequency_penalty", "not supported"),
        ({"temperatur": 0.5}, 400, "temperatur", "Unknown field temperatur"),
        ({"temperature": "hot"}, 400, "temperature", "expected a number, got a string"),
        ({"temperature": True}, 400, "temperature", "expected a number, got a boolean"),
        ({"temperature": -0.1}, 400, "temperature", "from 0.0 to 2.0"),
        ({"temperature": 1e-6}, 400, "temperature", "0 for greedy"),
        ({"top_p": 0}, 400, "top_p", "above 0.0 to 1.0"),
        ({"top_p": 1e-7}, 400, "top_p", "from 1e-6 to 1"),
        ({"top_k": -1}, 400, "top_k", "at least 0"),
        ({"n": 0}, 400, "n", "at least 1"),
        ({"n": 129}, 400, "n", "at most 128"),
        ({"n": 1.5}, 400, "n", "expected an integer, got a number"),
        ({"seed": 2**63}, 400, "seed", "less than 2^63"),
        ({"stop": ["a", "b", "c", "d", "e"]}, 400, "stop", "5 strings; at most 4"),
        ({"stop": ""}, 400, "stop", "is empty"),
        ({"stop": [1]}, 400, "stop", "expected a string or a list"),
        ({"stream": "yes"}, 400, "stream", "true or false"),
        ({"stream_options": {"include_usage": True}}, 400, "stream_options", "needs stream=true"),
        ({"stream": True, "stream_options": {"x": 1}}, 400, "stream_options.x", "Unknown field"),
        ({"logprobs": True, "top_logprobs": 3}, 400, "top_logprobs", "only the log-probabilities of the sampled"),
        ({"model": "gpt"}, 404, "model", "`gpt` is not served here; this is `tiny`"),
        ({"model": "\ud800"}, 404, "model", "`\ud800` is not served here"),
        ({"\ud800": 1}, 400, "\ud800", "Unknown field \ud800"),
        ({"messages": None}, 400, "messages", "missing"),
        ({"messages": []}, 400, "messages", "is empty"),
        ({"messages": ["hi"]}, 400, "messages[0]", "expected an object, got a string"),
        ({"messages": [{"role": "tool", "content": "x"}]}, 400, "messages[0].role", "'tool'"),
        ({"messages": [{"role": "user"}]}, 400, "messages[0].content", "got nothing"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            400,
            "messages[0].content",
            "only parts",
        ),
        (
            {"messages": [{"role": "assistant", "content": "", "tool_calls": [{}]}]},
            400,
            "messages[0].tool_calls",
            "not supported",
        ),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, 400, "messages[0].content", "surrogate"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, 400, "max_tokens", "differ"),
        ({"max_tokens": 0}, 400, "max_tokens", "at least 1"),
        ({"max_tokens": 124}, 400, "messages", "context is 128 tokens, but the prompt has 5 and 124 are asked for"),
        ({"messages": messages("x" * 128)}, 400, "messages", "the prompt has 128 and at least 1 are asked for"),
    ],
)
def test_what_cannot_be_answered_is_refused_naming_the_field(http, extra, status, param, message):
    body = {"model": "tiny", "messages": messages("hello"), **extra}
    answer = http.post("/v1/chat/completions", content=json.dumps(body), headers={"content-type": "application/json"})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["type"]) == (status, param, "invalid_request_error")
    assert message in error["message"]


@pytest.mark.parametrize(
    ("extra", "param", "message"),
    [
        ({"prompt": None}, "prompt", "missing"),
        ({"prompt": [1, "a"]}, "prompt", "expected a string, a list of strings"),
        ({"prompt": [-1]}, "prompt", "expected a string"),
        ({"prompt": ""}, "prompt", "empty"),
        ({"prompt": [261]}, "prompt", "261 is not one of the tokenizer's 261"),
        ({"prompt": ["a"] * 129}, "n", "129 answers"),
        ({"logprobs": 2}, "logprobs", "Set logprobs to 0"),
        ({"echo": True}, "echo", "not supported"),
        ({"best_of": 2}, "best_of", "not supported"),
        ({"max_tokens": 128}, "prompt", "context is 128"),
    ],
)
def test_completions_refuse_in_the_same_way(http, extra, param, message):
    answer = http.post("/v1/completions", json={"model": "tiny", "prompt": "hello", **extra})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert message in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("content", "kind", "status", "message"),
    [
        (b"{", "application/json", 400, "not JSON"),
        (b"\xff", "application/json", 400, "not JSON"),
        (b"[" * 100_000, "application/json", 400, "nested too deeply"),
        (b"[]", "application/json; charset=utf-8", 400, "must be a JSON object"),
        (b"{}", "text/plain", 415, "send application/json"),
        (b" " * (4 * 2**20 + 1), "application/json", 413, "larger than 4,194,304 bytes"),
    ],
)
def test_bodies_that_are_not_json_objects_of_a_sane_size_are_refused(http, content, kind, status, message):
    answer = http.post("/v1/chat/completions", content=content, headers={"content-type": kind})
    assert answer.status_code == status
    assert message in answer.json()["error"]["message"]


def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_failure_of_the_server(drafting_model, tokenizer):
    app = create_app(Engine(drafting_model, tokenizer, num_drafts=0), tokenizer, model_name="tiny")
    scope = {"type": "http", "method": "POST", "path": "/v1/completions", "query_string": b""}
    received = iter([{"type": "http.request", "body": b'{"a', "more_body": True}, {"type": "http.disconnect"}])
    sent = []

    async def receive():
        return next(received)

    async def send(message):
        sent.append(message)

    asyncio.run(app({**scope, "headers": [(b"content-type", b"application/json")]}, receive, send))

    assert sent[0]["status"] == 499


def test_wrong_paths_and_methods_are_errors_in_the_same_format(http):
    assert http.get("/v2").json()["error"]["message"] == "GET /v2: Not Found."
    answer = http.get("/v1/completions")
    assert (answer.status_code, answer.json()["error"]["type"]) == (405, "invalid_request_error")


def test_a_key_is_asked_for_where_one_is_set(drafting_model, tokenizer):
    with (
        served(drafting_model, tokenizer, api_key="sésame") as url,
        httpx.Client(base_url=url, trust_env=False) as http,
    ):
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "sésame".encode()}):
            answer = http.get("/v1/models", headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        assert http.get("/v1/models", headers={"authorization": "Bearer sésame".encode()}).status_code == 200
        assert http.get("/health").json() == {"status": "ok"}


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_has_its_request_aborted(endless_model, tokenizer, stream):
    with (
        served(endless_model, tokenizer, num_drafts=0) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=60) as http,
    ):
        body = {"messages": messages("hello"), "stream": stream, "n": 2}
        with httpx.Client(base_url=url, trust_env=False, timeout=60 if stream else 1) as leaving:
            if stream:
                with leaving.stream("POST", "/v1/chat/completions", json=body) as answer:
                    lines = answer.iter_lines()
                    for _ in range(20):
                        next(lines)
                    assert metrics(http)["mimo_requests_running"] == 2
            else:
                with pytest.raises(httpx.ReadTimeout):
                    leaving.post("/v1/chat/completions", json=body)
        found = metrics(http)
        while found['mimo_requests_total{finish="abort"}'] < 2:
            found = metrics(http)
        assert found["mimo_requests_running"] == found["mimo_requests_waiting"] == 0
        assert found["mimo_generated_tokens_total"] > 2


def test_when_too_many_wait_the_next_is_told_to_come_later(endless_model, tokenizer):
    with (
        served(endless_model, tokenizer, num_drafts=0, max_batch_size=1) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=60) as http,
        contextlib.ExitStack() as streams,
    ):
        body = {"prompt": "hello", "stream": True, "n": 128, "max_tokens": 100_000}
        for _ in range(8):
            streams.enter_context(http.stream("POST", "/v1/completions", json=body))
        while metrics(http)["mimo_requests_waiting"] < 8 * 128 - 1:
            pass
        answer = http.post("/v1/completions", json={**body, "n": 2})
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert "1023 requests wait already" in answer.json()["error"]["message"]


def test_metrics_count_tokens_requests_and_drafts(drafting_model, tokenizer):
    with (
        served(drafting_model, tokenizer) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=60) as http,
    ):
        assert metrics(http)["mimo_generated_tokens_total"] == 0
        body = {"prompt": ["hello", "you"], "max_tokens": 20, "seed": 1}
        usage = http.post("/v1/completions", json=body).json()["usage"]
        found = metrics(http)
    assert found["mimo_prompt_tokens_total"] == usage["prompt_tokens"] == 8
    assert found["mimo_generated_tokens_total"] == usage["completion_tokens"]
    assert found['mimo_requests_total{finish="stop"}'] + found['mimo_requests_total{finish="length"}'] == 2
    for layer in range(NUM_DRAFTS):
        label = f'{{layer="{layer + 1}"}}'
        assert found[f"mimo_drafted_tokens_total{label}"] == usage["drafted_tokens"][layer]
        assert found[f"mimo_accepted_tokens_total{label}"] == usage["accepted_tokens"][layer]
        share = usage["accepted_tokens"][layer] / usage["drafted_tokens"][layer]
        assert found[f"mimo_draft_acceptance{label}"] == pytest.approx(share)


def test_a_failed_engine_is_an_error_for_all_and_unhealthy(checkpoint, tokenizer):
    model = load_model(checkpoint)
    with (
        served(model, tokenizer, num_drafts=0, backend="torch") as url,
        httpx.Client(base_url=url, trust_env=False, timeout=60) as http,
    ):
        assert http.get("/health").status_code == 200
        model.model.embed_tokens.weight = torch.nn.Parameter(torch.zeros(1, 1))
        body = {"messages": messages("hello"), "stream": True}
        assert "the engine failed" in http.post("/v1/chat/completions", json=body).text
        assert http.get("/health").status_code == 503
        answer = http.post("/v1/chat/completions", json=body)
        assert (answer.status_code, answer.json()["error"]["type"]) == (503, "server_error")


def test_the_command_serves_and_finishes_what_is_under_way_when_told_to_stop(checkpoint):
    command = [sys.executable, "-m", "mimo_model_cli", "serve", str(checkpoint), "--port", "0", "--num-drafts", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().split(" API at ")[1].strip()
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as http:
            body = {"model": "fresh", "messages": messages("hello"), "stream": True, "seed": 1, "temperature": 0}
            with http.stream("POST", "/chat/completions", json=body) as answer:
                lines = answer.iter_lines()
                next(lines)
                process.send_signal(signal.SIGINT)
                assert [line for line in lines if line][-1] == "data: [DONE]"
        assert process.wait() == 0
        assert process.stderr.read() == ""


def test_a_missing_extra_a_taken_port_and_a_missing_checkpoint_are_one_line_each(tmp_path, capsys, monkeypatch):
    taken = bind("127.0.0.1", 0)
    taken.listen()
    port = taken.getsockname()[1]
    with pytest.raises(ModelError, match=f"127.0.0.1:{port}: cannot listen there"):
        bind("127.0.0.1", port)
    taken.close()
    assert main(["serve", str(tmp_path / "none"), "--port", "0"]) == 1
    assert "none: no such" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "starlette", None)
    for name in [name for name in sys.modules if name.startswith(("starlette.", "mimo_model.serving.server"))]:
        monkeypatch.delitem(sys.modules, name)
    assert main(["serve", "."]) == 1
    error = capsys.readouterr().err
    assert error == "mimo-model: error: starlette is missing: pip install 'mimo-model[serve]'\n"
