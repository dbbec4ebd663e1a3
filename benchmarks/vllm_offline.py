"""Score prompts by vLLM without a server, in vLLM's own environment; one JSON line.

    ENVIRONMENT/bin/python -P benchmarks/vllm_offline.py MODEL DTYPE REQUESTS

REQUESTS is a JSON file of `letter` and `cloze`, each a list of token ids: prompts whose next token
is scored, and prompts that end in an option. vllm_server.py writes it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from vllm import LLM, SamplingParams  # type: ignore[import-not-found]

WARM = 32


def main() -> None:
    """Time both kinds of requests and print the better of two rounds each, in seconds."""
    model, dtype, file = sys.argv[1:]
    requests = json.loads(Path(file).read_text())
    llm = LLM(model, dtype=dtype, enforce_eager=True, max_model_len=2048, max_logprobs=20)
    how = {
        "letter": SamplingParams(temperature=0, max_tokens=1, logprobs=20),
        "cloze": SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=0),
    }
    seconds = {}
    for method, sampling in how.items():
        prompts = [{"prompt_token_ids": ids} for ids in requests[method]]
        # In the other order, so that no prompt is the one that was read just before.
        llm.generate(prompts[::-1][:WARM], sampling, use_tqdm=False)
        rounds = []
        for _ in range(2):
            llm.reset_prefix_cache()
            start = time.perf_counter()
            llm.generate(prompts, sampling, use_tqdm=False)
            rounds.append(time.perf_counter() - start)
        seconds[method] = min(rounds)
    print(json.dumps(seconds), flush=True)
    os._exit(0)  # at a usual exit its threads abort


if __name__ == "__main__":
    main()
