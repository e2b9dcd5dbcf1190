"""The program that runs llama.cpp, in a process that `local` starts.

In a process of its own llama.cpp can take nothing down with it: it crashes when it has to end during a reply. The
program reads its settings as one line of JSON from standard input, answers with one line of JSON, {"url": …}, when
the model is loaded, and ends when standard input does, so that it never outlives its parent. It uses nothing of this
package, because it is run as a file.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any


def main() -> None:
    # Ctrl-C, and what a service manager sends to all processes of a service, reach it too; its parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    settings = json.loads(sys.stdin.readline())
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever llama.cpp prints is no answer
    server = _load(settings)
    answer.write(json.dumps({"url": server.listening_address}) + "\n")
    answer.close()
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    sys.stdin.read()
    os._exit(0)  # its threads would make an orderly end wait for the replies that are being written


def _load(settings: dict[str, Any]) -> Any:
    """The running server, listening on this machine only. Raises RuntimeError when the weights cannot be loaded."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["path"]
    params.model_alias = {settings["model"]}
    params.n_parallel = settings["chats"]
    params.n_ctx = settings["context_tokens"] * settings["chats"]  # llama.cpp divides it among the chats
    params.cache_ram_mib = settings["cache_mib"]
    params.cpuparams.n_threads = settings["threads"]
    params.cpuparams_batch.n_threads = settings["threads"]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [settings["api_key"]]
    params.cors_origins = ""
    params.endpoint_slots = False
    params.ui = False
    params.offline = True
    params.verbosity = 1  # errors
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
