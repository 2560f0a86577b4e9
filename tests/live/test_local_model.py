"""A real model, its real weights and real llama.cpp."""

import json
import os
import signal
import urllib.request

import pytest

from engine.local_model import LocalModelProcess, WeightsUnavailable, resolve

pytestmark = pytest.mark.live

MODEL = "qwen2.5-coder-0.5b"


def ask(base_url, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(base_url + path, data, {"Content-Type": "application/json"})  # noqa: S310 - our own server
    with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310
        return json.load(answer)


@pytest.fixture(scope="module")
def served():
    pytest.importorskip("xllamacpp", reason="pip install 'promptmill[local]'")
    try:
        resolve(MODEL)
    except WeightsUnavailable as error:
        pytest.skip(str(error))
    with LocalModelProcess(MODEL, parallel=2, context_tokens=1024) as process:
        yield process


def test_a_completion_comes_back_with_its_usage(served):
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "What is the capital of France? Answer in one word."}],
        "temperature": 0,
        "max_tokens": 8,
    }
    answer = ask(served.base_url, "/chat/completions", body)
    assert "Paris" in answer["choices"][0]["message"]["content"]
    assert answer["usage"]["prompt_tokens"] > 10
    assert 0 < answer["usage"]["completion_tokens"] <= 8


def test_the_server_says_which_model_it_serves(served):
    assert [model["id"] for model in ask(served.base_url, "/models")["data"]] == [MODEL]


def test_sigterm_ends_the_server_in_good_order(served):
    with LocalModelProcess(MODEL, parallel=1, context_tokens=512) as other:
        process = other._process
        os.kill(other.pid, signal.SIGTERM)
        assert process.wait(10) == 0
