"""The server and its client over real sockets, with a real sandbox behind them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from mimo_sandbox import Case, Limits, Sandbox, SandboxUnavailable, Status, Submission
from mimo_sandbox.client import SandboxClient

httpx = pytest.importorskip("httpx", reason="needs httpx: install mimo-sandbox[client]")
uvicorn = pytest.importorskip("uvicorn", reason="needs uvicorn and starlette: install mimo-sandbox[server]")
pytest.importorskip("starlette", reason="needs uvicorn and starlette: install mimo-sandbox[server]")

from mimo_sandbox.server import bind, create_app, read_token, serve  # noqa: E402

LIMITS = Limits(cpu_s=5.0, wall_s=60.0, memory_bytes=128 << 20, output_bytes=1 << 20, num_processes=16)
ADD = Submission("python", "a, b = map(int, input().split())\nprint(a + b)")
ADD_CASES = [Case(id="small", stdin="1 2\n", expected="3\n"), Case(id="large", stdin="10 20\n", expected="31\n")]
WAIT = Submission("python", "import time\ntime.sleep(float(input()))\nprint('done')")
DEADLINE_S = 30.0


def waiting(*seconds: float) -> list[Case]:
    """Cases of `WAIT`."""
    return [Case(id=str(number), stdin=str(value), expected="done") for number, value in enumerate(seconds)]


def body(submission: Submission = ADD, cases: list[Case] | None = None, **options: object) -> dict[str, object]:
    """A request as JSON, in the words of the protocol."""
    rows = [{"id": case.id, "stdin": case.stdin, "expected": case.expected} for case in cases or ADD_CASES]
    tree = {"language": submission.language, "source": submission.source}
    return {"submission": tree, "cases": rows, **options}


@contextlib.contextmanager
def served(**options: object) -> Iterator[str]:
    """The address of a server in a thread, over a sandbox of two workers."""
    listener = bind("127.0.0.1", 0, token=None)
    listener.listen()
    ready: list[uvicorn.Server | Exception] = []
    opened = threading.Event()

    async def run() -> None:
        try:
            async with Sandbox("local", num_workers=2, limits=LIMITS) as sandbox:
                config = uvicorn.Config(create_app(sandbox, **options), log_level="critical", lifespan="off")
                ready.append(uvicorn.Server(config))
                opened.set()
                await ready[0].serve(sockets=[listener])
        except Exception as error:
            ready.append(error)
        finally:
            opened.set()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    opened.wait()
    if isinstance(ready[0], SandboxUnavailable):
        pytest.skip(str(ready[0]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        ready[0].should_exit = True
        thread.join()
        listener.close()
    assert len(ready) == 1, ready


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(max_cases=8) as address:
        yield address


@pytest.fixture(scope="module")
def http(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, trust_env=False, timeout=DEADLINE_S) as client:
        yield client


@contextlib.contextmanager
def process(port: int = 0, drain_s: float = 30.0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server as `mimo-sandbox serve` runs it, and its address."""
    program = (
        "import asyncio, sys; from mimo_sandbox import Limits, Sandbox; from mimo_sandbox.server import serve\n"
        "sandbox = Sandbox('local', num_workers=1, limits=Limits(wall_s=60.0))\n"
        "asyncio.run(serve(sandbox, port=int(sys.argv[1]), drain_s=float(sys.argv[2])))"
    )
    command = [sys.executable, "-c", program, str(port), str(drain_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            line = running.stdout.readline()
            if not line:
                error = running.stderr.read()
                if "SandboxUnavailable" in error:
                    pytest.skip(error.strip().splitlines()[-1])
                pytest.fail(error)
            yield running, line.split(" at ")[1].strip()
        finally:
            running.kill()


def metrics(http: httpx.Client) -> dict[str, float]:
    lines = http.get("/metrics").raise_for_status().text.splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def until(is_so: Callable[[], bool]) -> None:
    """Asks again and again, for half a minute."""
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline, "not within half a minute"
        time.sleep(0.01)


def until_running(http: httpx.Client, num_requests: int) -> None:
    until(lambda: metrics(http)["mimo_sandbox_running_requests"] == num_requests)


def with_client(url: str, ask: Callable[[SandboxClient], Awaitable[object]], **options: object) -> object:
    async def main() -> object:
        async with asyncio.timeout(DEADLINE_S), SandboxClient(url, **options) as client:
            return await ask(client)

    return asyncio.run(main())


def in_background(action: Callable[[], object]) -> Callable[[], object]:
    """Starts it in a thread; what is returned waits for it and gives its result, or raises its error."""
    found: list[object] = []

    def run() -> None:
        try:
            found.append(action())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def result() -> object:
        thread.join(2 * DEADLINE_S)
        assert found, "not done in time"
        if isinstance(found[0], BaseException):
            raise found[0]
        return found[0]

    return result


async def collected(results: AsyncIterator[object]) -> list[object]:
    return [result async for result in results]


# The client


def test_a_client_judges_as_a_sandbox_does(url):
    verdict = with_client(url, lambda client: client.judge(ADD, ADD_CASES))

    assert [result.case_id for result in verdict.results] == ["small", "large"]
    assert verdict.passed == (True, False)
    assert verdict.results[1].status is Status.WRONG_ANSWER
    assert verdict.results[1].stdout_head == "30\n"


def test_options_travel_with_a_request(url):
    close = [Case(id="1", stdin="", expected="0.5"), Case(id="2", stdin="", expected="0.5")]
    program = Submission("python", "print(0.5000001)")

    async def ask(client):
        tolerant = await client.judge(program, close, comparator="float")
        stopped = await client.judge(program, close, stop="first-failure")
        short = await client.judge(WAIT, waiting(60), limits=Limits(wall_s=0.2))
        return [result.status for verdict in (tolerant, stopped, short) for result in verdict.results]

    assert with_client(url, ask) == [
        *(Status.ACCEPTED, Status.ACCEPTED),
        *(Status.WRONG_ANSWER, Status.SKIPPED),
        Status.IDLENESS_LIMIT,
    ]


def test_a_batch_gives_a_verdict_per_job(url):
    broken = Submission("python", "print('a'")
    jobs = [(ADD, ADD_CASES), (broken, ADD_CASES[:1]), (ADD, ADD_CASES[:1])]

    verdicts = with_client(url, lambda client: client.judge_many(jobs))

    assert [verdict.passed for verdict in verdicts] == [(True, False), (False,), (True,)]
    assert verdicts[1].results[0].status is Status.COMPILE_ERROR
    assert with_client(url, lambda client: client.judge_many([])) == []


def test_a_stream_gives_each_result_as_soon_as_it_is_known(url):
    async def ask(client):
        results = client.stream(WAIT, waiting(0, 60))
        async with contextlib.aclosing(results):
            return await anext(results)

    first = with_client(url, ask)

    assert (first.case_id, first.status) == ("0", Status.ACCEPTED)


def test_a_stream_is_the_whole_verdict_in_order(url):
    async def ask(client):
        return await collected(client.stream(ADD, ADD_CASES)), await client.judge(ADD, ADD_CASES)

    streamed, verdict = with_client(url, ask)

    assert [(result.case_id, result.status) for result in streamed] == [
        (result.case_id, result.status) for result in verdict.results
    ]


@pytest.mark.parametrize("text", ["\ud800", "\0", "\u2028\x85\x0b\r\n", "é\U0001f600"])
def test_any_text_goes_there_and_back(url, text):
    echo = Submission("python", "import sys\nsys.stdout.buffer.write(sys.stdin.buffer.read())")
    cases = [Case(id=text, stdin=text, expected=text)]

    async def ask(client):
        verdict = await client.judge(echo, cases, comparator="exact")
        return [*verdict.results, *await collected(client.stream(echo, cases, comparator="exact"))]

    for result in with_client(url, ask):
        assert (result.case_id, result.status) == (text, Status.ACCEPTED)


@pytest.mark.parametrize("ask", ["judge", "judge_many", "stream"])
def test_what_is_wrong_with_a_request_is_a_value_error(url, ask):
    cobol = Submission("cobol", "")

    async def judged(client):
        match ask:
            case "judge":
                return await client.judge(cobol, ADD_CASES)
            case "judge_many":
                return await client.judge_many([(cobol, ADD_CASES)])
            case _:
                return await collected(client.stream(cobol, ADD_CASES))

    with pytest.raises(ValueError, match="cobol"):
        with_client(url, judged)
    with pytest.raises(ValueError, match="9 cases; this server takes 8"):
        with_client(url, lambda client: client.judge(ADD, ADD_CASES[:1] * 9))


def test_urls_and_tokens_that_cannot_work_are_refused():
    for url in ("127.0.0.1:8080", "ftp://host", "http://", "http://["):
        with pytest.raises(ValueError, match=r"expected a URL|Invalid IPv6"):
            SandboxClient(url)
    with pytest.raises(ValueError, match="token"):
        SandboxClient("http://host", token="a\nb")


def test_a_server_that_is_not_there_is_named_with_what_to_do():
    with contextlib.closing(bind("127.0.0.1", 0, token=None)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(SandboxUnavailable, match=rf"{url} cannot be reached .*mimo-sandbox serve"):
            with_client(url, lambda client: client.judge(ADD, ADD_CASES), lost_s=0.5)


def test_a_client_must_be_open():
    with pytest.raises(SandboxUnavailable, match="async with"):
        asyncio.run(SandboxClient("http://127.0.0.1:1").judge(ADD, ADD_CASES))


# The routes


def test_judge_answers_with_results(http):
    answer = http.post("/v1/judge", json=body(stop="first-failure", mode="exec"))

    assert answer.status_code == 200
    assert [(row["case_id"], row["status"]) for row in answer.json()["results"]] == [
        ("small", "accepted"),
        ("large", "wrong answer"),
    ]


def test_judge_many_answers_with_verdicts(http):
    answer = http.post("/v1/judge_many", json={"requests": [body(), body(comparator="exact")]})

    statuses = [[row["status"] for row in verdict["results"]] for verdict in answer.json()["verdicts"]]
    assert statuses == [["accepted", "wrong answer"]] * 2


def test_stream_answers_with_lines_and_an_end(http):
    answer = http.post("/v1/stream", json=body())

    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line.get("case_id") for line in lines] == ["small", "large", None]
    assert lines[-1] == {"end": True}


@pytest.mark.parametrize("route", ["/v1/judge", "/v1/stream", "/v1/judge_many"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"submission": {"language": "cobol", "source": ""}}, "cobol"),
        ({"submission": {"language": "python"}}, "source"),
        ({"submission": {"language": "python", "source": 1}}, "source"),
        ({"submission": "print()"}, "Submission"),
        ({"cases": [{"id": "1", "expected": ""}]}, "stdin or arguments"),
        ({"cases": [{"id": "1", "stdin": "", "expected": "", "points": "3"}]}, "points"),
        ({"cases": {}}, "cases"),
        ({"comparator": "vibes"}, "vibes"),
        ({"stop": "never"}, "never"),
        ({"mode": "spoon"}, "spoon"),
        ({"limits": {"wall_s": -1}}, "wall_s"),
        ({"limits": {"wall_s": float("nan")}}, "wall_s"),
        ({"limits": {"patience": 1}}, "patience"),
        ({"checker": 3}, "Submission"),
        ({"\ud800": 1}, "comparator"),
    ],
)
def test_a_wrong_request_is_a_400_that_names_the_thing(http, route, change, message):
    tree = {**body(), **change}
    content = json.dumps({"requests": [body(), tree]} if route == "/v1/judge_many" else tree)

    answer = http.post(route, content=content, headers={"content-type": "application/json"})

    assert (answer.status_code, answer.json()["kind"]) == (400, "bad_request")
    assert message in answer.json()["error"]


@pytest.mark.parametrize(
    ("content", "kind", "status", "message"),
    [
        (b"{", "application/json", 400, "not JSON"),
        (b"\xff\xfe\xff", "application/json", 400, "not text"),
        (b"[" * 100_000, "application/json", 400, "nested too deeply"),
        (b"9" * 10_000, "application/json", 400, "digits"),
        (b"[]", "application/json; charset=utf-8", 400, "a request is an object"),
        (b"null", "application/json", 400, "a request is an object"),
        (b"{}", "text/plain", 415, "send application/json"),
        (b"{}", "", 415, "Content-Type is missing"),
        (b" " * ((64 << 20) + 1), "application/json", 413, "larger than 67,108,864 bytes"),
    ],
)
def test_bodies_that_are_not_json_of_a_sane_size_are_refused(http, content, kind, status, message):
    answer = http.post("/v1/judge", content=content, headers={"content-type": kind} if kind else {})

    assert answer.status_code == status
    assert message in answer.json()["error"]


@pytest.mark.parametrize("content", ["{}", '{"requests": {}}', '{"requests": [], "limits": {}}', "[]"])
def test_a_batch_is_an_object_with_requests(http, content):
    answer = http.post("/v1/judge_many", content=content, headers={"content-type": "application/json"})

    assert (answer.status_code, answer.json()["error"]) == (400, 'expected {"requests": [...]}.')


def test_in_a_batch_the_wrong_request_is_numbered(http):
    answer = http.post("/v1/judge_many", json={"requests": [body(), {"cases": []}]})

    assert answer.json()["error"].startswith("requests[1]: ")


def test_wrong_paths_and_methods_are_errors_in_the_same_format(http):
    assert http.get("/v2").json() == {"error": "GET /v2: Not Found.", "kind": "bad_request"}
    assert http.get("/v1/judge").status_code == 405


def test_health_names_backend_and_workers(http):
    answer = http.get("/health")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "backend": "local", "num_workers": 2})


# SandboxFusion's route


@pytest.mark.parametrize(
    ("fields", "status", "run_status", "return_code", "stdout", "stderr"),
    [
        ({"code": "print(input() * 2000)", "stdin": "ab"}, "Success", "Finished", 0, "ab" * 2_000 + "\n", ""),
        ({"code": "import sys; sys.exit('no')"}, "Failed", "Finished", 1, "", "no\n"),
        ({"code": "print('a'"}, "Failed", "Finished", 1, "", "SyntaxError"),
        ({"code": "import os; os.abort()"}, "Failed", "Finished", -6, "", ""),
        (
            {"code": "import time; print(1, flush=True); time.sleep(60)", "run_timeout": 1.5},
            *("Failed", "TimeLimitExceeded", None, "1\n", ""),
        ),
        ({"code": "while True: pass", "run_timeout": 0.5}, "Failed", "TimeLimitExceeded", None, "", ""),
        ({"code": "x = bytearray(100 << 20)", "memory_limit_MB": 64}, "Failed", "Finished", ..., "", ""),
        ({"code": "print(1)", "files": {}, "fetch_files": [], "args": []}, "Success", "Finished", 0, "1\n", ""),
        ({"code": "import sys; sys.stdout.buffer.write(b'\\xff')"}, "Success", "Finished", 0, "\ufffd", ""),
    ],
)
def test_run_code_answers_as_sandbox_fusion_does(http, fields, status, run_status, return_code, stdout, stderr):
    answer = http.post("/run_code", json={"language": "python", **fields})

    tree = answer.json()
    assert answer.status_code == 200
    assert set(tree) == {"status", "message", "compile_result", "run_result", "executor_pod_name", "files"}
    assert (tree["status"], tree["compile_result"], tree["files"]) == (status, None, {})
    run = tree["run_result"]
    assert set(run) == {"status", "execution_time", "return_code", "stdout", "stderr"}
    assert (run["status"], run["stdout"]) == (run_status, stdout)
    assert run["return_code"] != 0 if return_code is ... else run["return_code"] == return_code
    assert stderr in run["stderr"]


def test_run_code_says_how_a_compiler_fared(http):
    def run(code: str) -> dict[str, object]:
        return http.post("/run_code", json={"language": "cpp", "code": code}).json()

    right, wrong = (
        run('extern "C" int puts(const char *);\nint main() { puts("hi"); }'),
        run("int main() { return x; }"),
    )

    assert (right["status"], right["run_result"]["stdout"]) == ("Success", "hi\n")
    assert (right["compile_result"]["status"], right["compile_result"]["return_code"]) == ("Finished", 0)
    assert (wrong["status"], wrong["run_result"]) == ("Failed", None)
    assert (wrong["compile_result"]["status"], wrong["compile_result"]["return_code"]) == ("Finished", 1)
    assert "was not declared" in wrong["compile_result"]["stderr"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"files": {"a.txt": "YQ=="}}, "files: not supported"),
        ({"fetch_files": ["a.txt"]}, "fetch_files: not supported"),
        ({"args": ["-v"]}, "args: not supported"),
        ({"language": "cobol"}, "cobol"),
        ({"language": None}, "language: expected a string"),
        ({"code": 1}, "code: expected a string"),
        ({"stdin": 1}, "stdin: expected a string or null"),
        ({"run_timeout": 0}, "run_timeout: expected seconds above 0"),
        ({"compile_timeout": "10"}, "compile_timeout: expected seconds above 0"),
        ({"run_timeout": 10**400}, "run_timeout: expected seconds above 0"),
        ({"memory_limit_MB": 1.5}, "memory_limit_MB: expected an integer"),
        ({"memory_limit_MB": 10**30}, "memory_limit_MB: expected an integer"),
    ],
)
def test_run_code_refuses_in_sandbox_fusions_form(http, change, message):
    answer = http.post("/run_code", json={"language": "python", "code": "print()", **change})

    assert answer.status_code == 422
    (detail,) = answer.json()["detail"]
    assert message in detail["msg"]
    assert (detail["loc"], detail["type"]) == (["body"], "value_error")


# Access


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    with served(token="sesame") as address:
        yield address


@pytest.mark.parametrize("route", ["/v1/judge", "/v1/judge_many", "/v1/stream", "/run_code", "/metrics"])
def test_a_token_is_asked_for_where_one_is_set(guarded, route):
    with httpx.Client(base_url=guarded, trust_env=False, timeout=DEADLINE_S) as http:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "sesame"}, {"authorization": b"\xff"}):
            answer = http.post(route, json=body(), headers=headers)
            assert (answer.status_code, answer.json()["kind"]) == (401, "unauthorized")
        assert http.get("/health").status_code == 200
        found = http.get("/metrics", headers={"authorization": "Bearer sesame"})
        assert 'mimo_sandbox_refused_requests_total{reason="unauthorized"}' in found.text


def test_a_client_sends_its_token(guarded):
    assert with_client(guarded, lambda client: client.judge(ADD, ADD_CASES), token="sesame").passed == (True, False)
    for token in (None, "wrong"):
        with pytest.raises(SandboxUnavailable, match=rf"{guarded}: the token is missing or wrong.*Give `token=`"):
            with_client(guarded, lambda client: client.judge(ADD, ADD_CASES), token=token)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_other_machines_are_let_in_with_a_token_only(host):
    with pytest.raises(ValueError, match="other machines could run programs here"):
        asyncio.run(serve(Sandbox("local"), host=host, port=0))
    if host == "0.0.0.0":
        bind(host, 0, token="sesame").close()


def test_a_taken_port_is_one_line(url):
    port = int(url.rpartition(":")[2])
    with pytest.raises(SandboxUnavailable, match=f"127.0.0.1:{port}: cannot listen there"):
        bind("127.0.0.1", port, token=None)


def test_a_token_comes_from_a_file_or_the_environment(tmp_path, monkeypatch):
    file = tmp_path / "token"
    file.write_text("sesame\n")
    monkeypatch.delenv("MIMO_SANDBOX_TOKEN", raising=False)
    assert read_token(None) is None
    assert read_token(file) == "sesame"
    monkeypatch.setenv("MIMO_SANDBOX_TOKEN", "other")
    assert (read_token(None), read_token(file)) == ("other", "sesame")
    for text in ("", "two\nlines", "sésame"):
        file.write_text(text)
        with pytest.raises(ValueError, match="not a token"):
            read_token(file)


# Load


def test_when_the_server_is_full_the_next_is_told_to_come_later(url, http):
    refused = metrics(http).get('mimo_sandbox_refused_requests_total{reason="busy"}', 0)
    with contextlib.ExitStack() as streams:
        streams.enter_context(http.stream("POST", "/v1/stream", json=body(WAIT, waiting(0, *[60] * 6))))

        answer = http.post("/v1/judge", json=body())

        assert (answer.status_code, answer.json()["kind"]) == (503, "busy")
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["error"].startswith("7 cases wait or run; this server takes 8")
        assert http.post("/v1/judge", json=body(cases=ADD_CASES[:1])).status_code == 200
        assert metrics(http)['mimo_sandbox_refused_requests_total{reason="busy"}'] == refused + 1
        with pytest.raises(SandboxUnavailable, match=f"{url} is full or stopping .*for 0.5 s. Send fewer"):
            with_client(url, lambda client: client.judge(ADD, ADD_CASES), busy_s=0.5)
        verdict = in_background(lambda: with_client(url, lambda client: client.judge(ADD, ADD_CASES)))
        until(lambda: metrics(http)['mimo_sandbox_refused_requests_total{reason="busy"}'] > refused + 2)
    assert verdict().passed == (True, False)


@pytest.mark.parametrize("route", ["/v1/judge", "/v1/stream", "/v1/judge_many", "/run_code"])
def test_a_client_that_leaves_frees_the_sandbox(url, http, route):
    before = metrics(http)["mimo_sandbox_cancelled_requests_total"]
    tree = body(WAIT, waiting(59, 60))
    if route == "/v1/judge_many":
        tree = {"requests": [tree]}
    if route == "/run_code":
        tree = {"language": "python", "code": WAIT.source, "stdin": "60", "run_timeout": 60}
    content = json.dumps(tree).encode()
    head = f"POST {route} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as connection:
        connection.sendall(head.encode() + b"\r\n" + content)
        until_running(http, 1)

    until_running(http, 0)

    assert metrics(http)["mimo_sandbox_queued_cases"] == 0
    assert metrics(http)["mimo_sandbox_cancelled_requests_total"] == before + 1
    # Both workers have something to do, well before the programs that were left would have ended.
    assert with_client(url, lambda client: client.judge(WAIT, waiting(0.1, 0.2))).passed == (True, True)


@pytest.mark.parametrize("how", ["judge", "stream"])
def test_a_caller_that_is_cancelled_frees_the_sandbox(url, http, how):
    async def main() -> None:
        async with SandboxClient(url) as client:
            work = client.judge(WAIT, waiting(59)) if how == "judge" else collected(client.stream(WAIT, waiting(0, 60)))
            task = asyncio.create_task(work)
            await asyncio.to_thread(until_running, http, 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(until_running, http, 0)

    asyncio.run(main())


def test_metrics_are_well_formed_and_count(http):
    before = metrics(http)
    http.post("/v1/judge", json=body())
    http.post("/v1/stream", json=body(stop="first-failure", cases=[*reversed(ADD_CASES)]))
    http.post("/run_code", json={"language": "python", "code": "print()"})
    after = metrics(http)

    def grown(name: str) -> float:
        return after[f"mimo_sandbox_{name}"] - before[f"mimo_sandbox_{name}"]

    assert grown('cases_total{status="accepted"}') == 2
    assert grown('cases_total{status="wrong answer"}') == 2
    assert grown('cases_total{status="skipped"}') == 1
    assert grown("case_wall_seconds_count") == 4
    assert grown('case_wall_seconds_bucket{le="+Inf"}') == 4
    assert 0 < grown("case_wall_seconds_sum") < 4 * LIMITS.wall_s
    buckets = [value for name, value in after.items() if "_bucket" in name]
    assert buckets == sorted(buckets)
    assert (after["mimo_sandbox_workers"], after["mimo_sandbox_max_queued_cases"]) == (2, 8)


def test_metrics_parse_as_prometheus_text(http):
    answer = http.get("/metrics")

    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert answer.text.endswith("\n")
    kinds: dict[str, str] = {}
    for line in answer.text.splitlines():
        if line.startswith("# HELP "):
            described = line.split(" ", 3)[2]
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == described
            assert kind in ("counter", "gauge", "histogram")
            assert name not in kinds
            kinds[name] = kind
        else:
            sample = re.fullmatch(r'([a-z_]+)(\{[a-z]+="[^"\\]*"\})? (\S+)', line)
            assert sample, line
            float(sample[3])
            name = sample[1]
            if kinds[described] == "histogram":
                name = re.sub("_(bucket|sum|count)$", "", name)
            assert name == described
            assert name.endswith("_total") == (kinds[name] == "counter")


# Ends


def test_told_to_stop_it_finishes_what_it_has_and_takes_no_more():
    with process() as (server, url), httpx.Client(base_url=url, trust_env=False, timeout=DEADLINE_S) as http:
        verdict = in_background(lambda: with_client(url, lambda client: client.judge(WAIT, waiting(2))))
        until_running(http, 1)

        server.send_signal(signal.SIGTERM)

        until(lambda: http.get("/health").status_code == 503)
        answer = http.post("/v1/judge", json=body())
        assert (answer.status_code, answer.json()["kind"]) == (503, "draining")
        assert "retry-after" in answer.headers
        assert verdict().passed == (True,)
        assert server.wait(DEADLINE_S) == 0
        assert server.stderr.read() == ""


@pytest.mark.parametrize("second", [None, signal.SIGTERM])
def test_what_is_not_done_in_time_gets_an_error_and_no_verdict(second):
    with (
        process(drain_s=600 if second else 0.2) as (server, url),
        httpx.Client(base_url=url, trust_env=False, timeout=DEADLINE_S) as http,
    ):
        streamed = in_background(lambda: http.post("/v1/stream", json=body(WAIT, waiting(0, 60))).text)
        until(lambda: metrics(http)['mimo_sandbox_cases_total{status="accepted"}'] == 1)
        whole = in_background(lambda: http.post("/v1/judge", json=body(WAIT, waiting(50))))
        until_running(http, 2)

        server.send_signal(signal.SIGTERM)
        if second:
            until(lambda: http.get("/health").status_code == 503)
            server.send_signal(second)

        lines = [json.loads(line) for line in streamed().splitlines()]
        assert lines[0]["status"] == "accepted"
        assert (len(lines), lines[1]["kind"]) == (2, "draining")
        assert (whole().status_code, whole().json()["kind"]) == (503, "draining")
        assert server.wait(DEADLINE_S) == 0
        assert ("cancelled" in server.stderr.read()) == (second is None)


def test_a_server_killed_in_a_stream_is_a_failed_judge_after_right_results():
    with process() as (server, url):
        found = []

        async def ask(client):
            async for result in client.stream(WAIT, waiting(0, 60)):
                found.append(result.status)
                server.kill()

        with pytest.raises(SandboxUnavailable, match=f"{url}: the answer was cut"):
            with_client(url, ask)
        assert found == [Status.ACCEPTED]


def test_a_server_that_comes_back_is_asked_again():
    with process() as (first, url), httpx.Client(base_url=url, trust_env=False, timeout=DEADLINE_S) as http:
        verdict = in_background(lambda: with_client(url, lambda client: client.judge(WAIT, waiting(1))))
        until_running(http, 1)
        first.kill()
        first.wait()
        with process(int(url.rpartition(":")[2])) as (_, again):
            assert again == url
            assert verdict().passed == (True,)


RESULT = '{"case_id": "small", "status": "accepted"}'


@pytest.mark.parametrize(
    ("route", "answer"),
    [
        ("stream", ""),
        ("stream", f"{RESULT}\n"),
        ("stream", f'{RESULT}\n{{"end": true}}\n'),
        ("stream", f'{RESULT}\n{{"case_id": "la'),
        ("stream", f'{RESULT}\n{RESULT}\n{{"end": true}}\n'),
        ("stream", f'{RESULT}\n{{"error": "two workers were lost", "kind": "unavailable"}}\n'),
        ("stream", "<html>"),
        ("stream", '{"case_id": "small", "status": "splendid"}\n'),
        ("judge", ""),
        ("judge", '{"results": ['),
        ("judge", f'{{"results": [{RESULT}]}}'),
        ("judge", f'{{"results": [{RESULT}, {RESULT}]}}'),
        ("judge", "[]"),
        ("judge", "<html>"),
        ("judge_many", '{"verdicts": []}'),
        ("judge_many", f'{{"verdicts": [{{"results": [{RESULT}]}}]}}'),
    ],
)
@pytest.mark.parametrize("cut", [False, True])
def test_an_answer_that_is_not_whole_is_never_a_verdict(route, answer, cut):
    """Whether the connection ends early or what stands between ends it politely."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"expected")
        length = len(answer) + (1 if cut else 0)
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{answer}".encode())
        await writer.drain()
        writer.close()

    async def main() -> None:
        async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with SandboxClient(url) as client:
                match route:
                    case "stream":
                        await collected(client.stream(ADD, ADD_CASES))
                    case "judge":
                        await client.judge(ADD, ADD_CASES)
                    case _:
                        await client.judge_many([(ADD, ADD_CASES)])

    with pytest.raises(SandboxUnavailable, match=r"http://127.0.0.1:\d+: "):
        asyncio.run(main())


@pytest.fixture
def broken() -> Iterator[str]:
    """The address of a server whose workers are killed as often as they come back."""
    with process() as (server, url):
        stopped = threading.Event()

        def kill_workers() -> None:
            while not stopped.wait(0.01):
                for children in Path(f"/proc/{server.pid}/task").glob("*/children"):
                    with contextlib.suppress(OSError):
                        for child in children.read_text().split():
                            os.kill(int(child), signal.SIGKILL)

        killer = threading.Thread(target=kill_workers)
        killer.start()
        yield url
        stopped.set()
        killer.join()


def test_a_failed_judge_is_told_apart_from_a_wrong_program(broken):
    with httpx.Client(base_url=broken, trust_env=False, timeout=DEADLINE_S) as http:
        for route in ("/v1/judge", "/v1/stream"):
            answer = http.post(route, json=body(WAIT, waiting(60)))
            assert (answer.status_code, answer.json()["kind"]) == (502, "unavailable")
        fused = http.post("/run_code", json={"language": "python", "code": WAIT.source, "stdin": "60"})
        assert (fused.status_code, fused.json()["status"], fused.json()["run_result"]) == (200, "SandboxError", None)
        assert fused.json()["message"]
        assert metrics(http)["mimo_sandbox_judge_failures_total"] == 3
    with pytest.raises(SandboxUnavailable, match=f"{broken}: "):
        with_client(broken, lambda client: client.judge(WAIT, waiting(60)))
