"""The client of OpenAI-compatible endpoints, asked over a real socket."""

from __future__ import annotations

import asyncio
import socket
import time
from email.utils import formatdate

import pytest

from mimo_data.run import DataError
from mimo_data.synth.endpoint import Endpoint, EndpointRecipe, Message, Reply, SamplingRecipe

pytest.importorskip("httpx", reason="needs httpx: install mimo-data[synth]")

HELLO = (Message(role="user", content="hello"),)
SAMPLING = SamplingRecipe(temperature=0.25, top_p=0.5, max_tokens=7)


def recipe(url: str, **options: object) -> EndpointRecipe:
    return EndpointRecipe(url=url, model="tiny", **{"first_wait_s": 0.0, "max_tries": 4, **options})


def ask(where: EndpointRecipe, num_requests: int = 1) -> list[Reply]:
    async def all_replies() -> list[Reply]:
        async with Endpoint(where) as endpoint:
            return await asyncio.gather(*(endpoint.ask(HELLO, SAMPLING, seed=seed) for seed in range(num_requests)))

    return asyncio.run(all_replies())


def test_a_reply_has_text_finish_and_usage(chat_server, completion):
    server = chat_server(lambda body, number: completion("one two three", finish="length"))
    (reply,) = ask(recipe(server.url))
    assert reply == Reply(text="one two three", finish="length", prompt_tokens=10, completion_tokens=3)
    assert server.requests == [
        {
            "model": "tiny",
            "messages": [{"role": "user", "content": "hello"}],
            "temperature": 0.25,
            "top_p": 0.5,
            "max_tokens": 7,
            "seed": 0,
        }
    ]


@pytest.mark.parametrize(
    ("text", "message", "expected"),
    [
        ("4", {"reasoning_content": "2 + 2"}, "<think>\n2 + 2\n</think>\n\n4"),
        ("4", {"reasoning": "2 + 2"}, "<think>\n2 + 2\n</think>\n\n4"),
        ("2 + 2\n</think>\n4", {}, "<think>\n2 + 2\n</think>\n4"),
        ("<think>2 + 2</think>4", {}, "<think>2 + 2</think>4"),
        ("4", {}, "4"),
    ],
)
def test_reasoning_is_found_where_servers_put_it(chat_server, completion, text, message, expected):
    server = chat_server(lambda body, number: completion(text, **message))
    (reply,) = ask(recipe(server.url))
    assert reply.with_reasoning() == expected


@pytest.mark.parametrize(
    "failure",
    [
        (429, {"error": {"message": "slow down"}}, {}),
        (500, b"<html>oops", {}),
        (503, b"", {}),
        (529, b"", {}),
        (200, b'{"choices": [{"message": {"content": "cut', {}),
        (200, b'{"choices": []}', {}),
        (200, b"\xff\xfe", {}),
    ],
)
def test_what_may_pass_is_tried_again(chat_server, completion, failure):
    server = chat_server(lambda body, number: failure if number < 3 else completion("fine"))
    (reply,) = ask(recipe(server.url))
    assert (reply.text, reply.num_tries, len(server.requests)) == ("fine", 3, 3)


def test_an_endpoint_that_stays_broken_is_an_error_after_the_last_try(chat_server):
    server = chat_server(lambda body, number: (500, {"error": {"message": "out of memory"}}, {}))
    with pytest.raises(
        DataError, match=r"4 tries failed, the last with: HTTP 500: out of memory.*run the same command"
    ):
        ask(recipe(server.url))
    assert len(server.requests) == 4


def test_a_slow_answer_is_given_up_and_asked_again(chat_server, completion):
    def respond(body, number):
        if number == 1:
            time.sleep(0.5)
        return completion("fine")

    (reply,) = ask(recipe(chat_server(respond).url, request_limit_s=0.2))
    assert (reply.text, reply.num_tries) == ("fine", 2)


def test_nobody_at_the_port_is_an_error_that_names_it():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(DataError, match=f"127.0.0.1:{port}/v1/chat/completions: 4 tries failed.*ConnectError"):
            ask(recipe(f"http://127.0.0.1:{port}/v1"))


def test_retry_after_holds_for_everybody(chat_server, completion):
    arrivals = []

    def respond(body, number):
        arrivals.append(time.monotonic())
        return (429, b"", {"retry-after": "0.3"}) if number == 1 else completion("fine")

    replies = ask(recipe(chat_server(respond).url, concurrency=1), 3)
    assert [reply.num_tries for reply in replies] == [2, 1, 1]
    assert arrivals[1] - arrivals[0] >= 0.3


@pytest.mark.parametrize("as_date", [False, True])
def test_an_endpoint_that_is_closed_for_hours_ends_the_run(chat_server, as_date):
    value = formatdate(time.time() + 7200, usegmt=True) if as_date else "7200"
    server = chat_server(lambda body, number: (429, b"", {"retry-after": value}))
    with pytest.raises(DataError, match=r"asks to come back in 7[12]\d\d s"):
        ask(recipe(server.url))
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (401, {"message": "bad key s3cret"}, r"HTTP 401: bad key …\. Name the"),
        (401, {"message": "bad key s3cret."}, r"HTTP 401: bad key …\. Name the"),
        (403, {"message": "no"}, "api_key_variable"),
        (404, {"message": "no model"}, "'tiny' is served"),
        (302, {"message": "moved"}, "the url ends before"),
        (429, {"message": "pay", "code": "insufficient_quota"}, "exhausted"),
        (402, {"message": "pay"}, "exhausted"),
    ],
)
def test_what_cannot_pass_is_an_error_at_once_and_never_shows_the_key(chat_server, monkeypatch, status, error, message):
    monkeypatch.setenv("SYNTH_KEY", "s3cret")
    server = chat_server(lambda body, number: (status, {"error": error}, {}))
    with pytest.raises(DataError, match=message) as caught:
        ask(recipe(server.url, api_key_variable="SYNTH_KEY"))
    assert "s3cret" not in str(caught.value)
    assert (len(server.requests), server.keys) == (1, ["Bearer s3cret"])


def test_where_a_redirection_leads_is_said(chat_server):
    server = chat_server(lambda body, number: (302, b"", {"location": "https://login.example/"}))
    with pytest.raises(DataError, match=r"HTTP 302: no message, to https://login\.example/\. See that the url"):
        ask(recipe(server.url))


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_is_itself_at_fault_is_a_rejected_reply(chat_server, status):
    server = chat_server(lambda body, number: (status, {"error": {"message": "too long"}}, {}))
    (reply,) = ask(recipe(server.url))
    assert (reply.text, reply.finish) == (f"HTTP {status}: too long", "rejected")
    assert (reply.prompt_tokens, len(server.requests)) == (0, 1)


def test_a_refusal_is_a_finish_of_its_own(chat_server, completion):
    server = chat_server(lambda body, number: completion("", refusal="I cannot help with that."))
    (reply,) = ask(recipe(server.url))
    assert (reply.text, reply.finish) == ("I cannot help with that.", "refusal")


def test_no_more_are_asked_at_once_than_the_recipe_says(chat_server, completion):
    def respond(body, number):
        time.sleep(0.02)
        return completion(str(body["seed"]))

    server = chat_server(respond)
    replies = ask(recipe(server.url, concurrency=3), 12)
    assert [reply.text for reply in replies] == [str(seed) for seed in range(12)]
    assert server.most_at_once == 3


def test_a_reply_costs_what_its_tokens_cost():
    endpoint = Endpoint(recipe("http://127.0.0.1:1/v1", prompt_price=2.0, completion_price=10.0))
    reply = Reply(text="", finish="stop", prompt_tokens=500_000, completion_tokens=100_000)
    assert endpoint.cost(reply) == 2.0


def test_answers_without_usage_cannot_be_priced(chat_server):
    server = chat_server(lambda body, number: (200, {"choices": [{"message": {"content": "fine"}}]}, {}))
    assert ask(recipe(server.url))[0].text == "fine"
    with pytest.raises(DataError, match="cannot be priced"):
        ask(recipe(server.url, completion_price=1.0))


def test_a_key_that_is_not_in_the_environment_is_an_error_that_names_the_variable(monkeypatch):
    monkeypatch.delenv("SYNTH_KEY", raising=False)
    with pytest.raises(DataError, match=r"\$SYNTH_KEY is not set"):
        Endpoint(recipe("http://127.0.0.1:1/v1", api_key_variable="SYNTH_KEY"))


@pytest.mark.parametrize("url", ["127.0.0.1:8000/v1", "ftp://a.org", "https://me:word@a.org/v1"])
def test_an_address_that_cannot_be_right_is_refused(url):
    with pytest.raises(ValueError, match="url"):
        recipe(url)
