"""Program that runs llama.cpp in a child process, started by `process`.

The separate process isolates crashes: llama.cpp crashes if it has to end during a reply. The program reads its settings
as one line of JSON from stdin. When the model is loaded, it answers with one line of JSON, {"url": …}. It ends when
stdin closes, so that it never outlives its parent. It imports nothing of this package, because it is run as a file.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any


def main() -> None:
    """Load the model, report its URL and serve until stdin closes."""
    # Ctrl-C and a service manager signal all processes of a group; the parent decides when this one ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    settings = json.loads(sys.stdin.readline())
    reply_file = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # llama.cpp's own output must not mix with the answer
    server = _load(settings)
    reply_file.write(json.dumps({"url": server.listening_address}) + "\n")
    reply_file.close()
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.dup2(devnull, 2)
    sys.stdin.read()
    os._exit(0)  # a clean exit would wait for threads that still generate replies


def _load(settings: dict[str, Any]) -> Any:
    """Start the server on the loopback address. Raises RuntimeError if the weights cannot be loaded."""
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
    params.verbosity = 1  # errors only
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
