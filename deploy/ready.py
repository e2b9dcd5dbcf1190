"""Whether the chatfeedback of this container can do its work: the status is 0 when its /readyz says so."""

import os
import sys
from http.client import HTTPConnection, HTTPException

port = int(os.environ.get("CHATFEEDBACK_PORT") or 7860)
try:
    asked = HTTPConnection("127.0.0.1", port, timeout=4)
    asked.request("GET", "/readyz")
    answer = asked.getresponse()
except (OSError, HTTPException) as error:
    sys.exit(f"it does not answer: {error}")
print(answer.read().decode())
sys.exit(answer.status != 200)
