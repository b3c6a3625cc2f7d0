"""The process that serves one model: `python -m callboard.deploy.models.serve --model PATH --parent PID`.

Prints `listening URL` once the model answers, then writes only to standard error. Ends with its parent.
"""

import argparse
import ctypes
import os
import signal
import sys
import time
from importlib import import_module
from typing import Any

PR_SET_PDEATHSIG = 1
PARENT_POLL = 0.5
"""Seconds between two looks for the parent."""

PROMPT_CACHE = 128
"""MiB for the beginnings of earlier prompts: without it, shuffled tasks take twice as long; llama.cpp's own default
would let it grow to 8 GiB."""

WARNINGS = 2
"""llama.cpp's verbosity: one more would write five lines a request, for ever."""


def main() -> None:
    """Serve until killed, or until the parent is gone."""
    args = _arguments()
    _die_with_parent()
    try:
        server = import_module("xllamacpp").Server(_parameters(args))
    except RuntimeError as error:
        sys.exit(str(error))
    sys.stdout.write(f"listening {server.listening_address}\n")
    sys.stdout.flush()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    while os.getppid() == args.parent:
        time.sleep(PARENT_POLL)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Serve one GGUF file over OpenAI-compatible HTTP on 127.0.0.1.")
    parser.add_argument("--model", required=True, help="path of the GGUF file")
    parser.add_argument("--name", required=True, help="the model's name in answers")
    parser.add_argument("--parent", required=True, type=int, help="process to end with")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--slots", type=int, default=2, help="requests answered at a time")
    parser.add_argument("--context", type=int, default=2048, help="tokens a slot")
    parser.add_argument("--chat-template", default="", help="Jinja text; empty: the one inside the weights")
    parser.add_argument("--stop", action="append", default=[], help="ends an answer; may be repeated")
    return parser.parse_args()


def _parameters(args: argparse.Namespace) -> Any:
    params = import_module("xllamacpp").CommonParams()
    params.model.path = args.model
    params.model_alias = {args.name}
    params.hostnames = ["127.0.0.1"]
    params.port = args.port
    params.n_parallel = args.slots
    params.n_ctx = args.slots * args.context
    params.cpuparams.n_threads = args.threads
    params.cpuparams_batch.n_threads = args.threads
    params.cpuparams.poll = params.cpuparams_batch.poll = 0  # threads that spin starve the other processes here
    params.chat_template = args.chat_template
    params.antiprompt = args.stop
    params.verbosity = WARNINGS
    params.ui = False
    params.cors_origins = "http://127.0.0.1"  # the default lets any web page in a browser here use the model
    params.cache_ram_mib = PROMPT_CACHE
    return params


def _die_with_parent() -> None:
    """Have Linux kill this process at once when its parent ends, even while the model still loads."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
