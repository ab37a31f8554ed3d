"""The request and the response of SandboxFusion's `/run_code`, so that its clients can ask this server.

Fields and values are those of https://github.com/bytedance/SandboxFusion. Different here: files go neither in nor
out, `compile_timeout` is checked but the compiler has its own limits, and a program that prints more than the sandbox
allows is ended where SandboxFusion cuts its output.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from mimo_sandbox.judging import Run
from mimo_sandbox.verdict import Limits, Status, Submission

_UNSUPPORTED = ("files", "fetch_files", "args")
_MOST = 1_000_000_000
"""Of seconds or MiB: what is larger is a mistake, and no limit that a kernel takes."""


def read_request(tree: object, limits: Limits) -> tuple[Submission, bytes, Limits]:
    """The program, its stdin and its limits.

    Args:
        limits: the sandbox's; the request's time and memory replace those in it.

    Raises:
        ValueError: a field is missing, of the wrong kind, or asks for what is not supported. Other fields are ignored,
            as SandboxFusion does.
    """
    if not isinstance(tree, Mapping):
        raise ValueError(f"a request is an object, not {type(tree).__name__}.")
    for name in _UNSUPPORTED:
        if tree.get(name):
            raise ValueError(f"{name}: not supported by mimo-sandbox; leave it empty.")
    for name in ("code", "language"):
        if not isinstance(tree.get(name), str):
            raise ValueError(f"{name}: expected a string, not {tree.get(name)!r}.")
    stdin = tree.get("stdin")
    if not isinstance(stdin, str | None):
        raise ValueError(f"stdin: expected a string or null, not {stdin!r}.")
    _seconds(tree, "compile_timeout")
    wall_s = _seconds(tree, "run_timeout")
    memory_mib = tree.get("memory_limit_MB", -1)
    if isinstance(memory_mib, bool) or not isinstance(memory_mib, int) or memory_mib > _MOST:
        raise ValueError(f"memory_limit_MB: expected an integer up to {_MOST:,}, not {memory_mib!r}.")
    return (
        Submission(tree["language"], tree["code"]),
        (stdin or "").encode("utf-8", "surrogatepass"),
        dataclasses.replace(
            limits,
            wall_s=wall_s,
            # There is no limit of CPU time in the protocol: as much as all its processes can use by then.
            cpu_s=wall_s * limits.num_processes,
            memory_bytes=memory_mib << 20 if memory_mib > 0 else limits.memory_bytes,
        ),
    )


def response(submission: Submission, run: Run) -> dict[str, object]:
    """The response to a program that was run or did not compile."""
    status, result = run.result.status, run.result
    compiled = None
    if submission.language != "python":
        failed = status is Status.COMPILE_ERROR
        compiled = _command("Finished", return_code=int(failed), stderr=run.compile_message or "")
    stdout, stderr = (data.decode("utf-8", "replace") for data in (run.stdout, run.stderr))
    ran: dict[str, object] | None
    if status is Status.COMPILE_ERROR:
        # SandboxFusion does not compile Python first: there the interpreter ends with 1.
        ran = None if compiled else _command("Finished", return_code=1, stderr=run.compile_message or "")
    elif status in (Status.TIME_LIMIT, Status.IDLENESS_LIMIT):
        ran = _command("TimeLimitExceeded", execution_time=result.wall_s, stdout=stdout, stderr=stderr)
    else:
        return_code = 0 if status is Status.ACCEPTED else result.exit_code or -9
        ran = _command("Finished", execution_time=result.wall_s, return_code=return_code, stdout=stdout, stderr=stderr)
    ended_by_limit = status in (Status.MEMORY_LIMIT, Status.OUTPUT_LIMIT)
    return _answer(
        "Success" if status is Status.ACCEPTED else "Failed", status.value if ended_by_limit else "", compiled, ran
    )


def failure(message: str) -> dict[str, object]:
    """The response when the judge failed."""
    return _answer("SandboxError", message, None, None)


def refusal(message: str) -> dict[str, object]:
    """The body of a 422: the request is wrong."""
    return {"detail": [{"type": "value_error", "loc": ["body"], "msg": message}]}


def _seconds(tree: Mapping[str, object], name: str) -> float:
    value = tree.get(name, 10)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _MOST:
        raise ValueError(f"{name}: expected seconds above 0 and up to {_MOST:,}, not {value!r}.")
    return value


def _command(
    status: str,
    *,
    execution_time: float | None = None,
    return_code: int | None = None,
    stdout: str = "",
    stderr: str = "",
) -> dict[str, object]:
    return {
        "status": status,
        "execution_time": execution_time,
        "return_code": return_code,
        "stdout": stdout,
        "stderr": stderr,
    }


def _answer(status: str, message: str, compiled: object, ran: object) -> dict[str, object]:
    return {
        "status": status,
        "message": message,
        "compile_result": compiled,
        "run_result": ran,
        "executor_pod_name": None,
        "files": {},
    }
