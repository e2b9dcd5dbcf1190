"""Readiness check of a container: the status is 0 if /readyz of its chatfeedback responds with 200."""

import os
import sys
from http.client import HTTPConnection, HTTPException

port = int(os.environ.get("CHATFEEDBACK_PORT") or 7860)
try:
    connection = HTTPConnection("127.0.0.1", port, timeout=4)
    connection.request("GET", "/readyz")
    response = connection.getresponse()
except (OSError, HTTPException) as error:
    sys.exit(f"it does not answer: {error}")
print(response.read().decode())
sys.exit(response.status != 200)
