"""Real OpenID provider in a process of its own (`oidc_site`), and the actions of a browser at it.

    with OidcProvider(folder) as provider:
        ...                                     # a site that knows provider.issuer, client_id and client_secret
        back = signed_in(address, "Ada")        # where the browser is sent, with code and state

A browser of a test fills in the field "Name" and presses "Sign in" or "Decline".
"""

from __future__ import annotations

import re
import ssl
import subprocess
import sys
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx2

PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Only plain HTTP is spoken here; to read the certificates of the world for each client would take 50 ms."""
SITE = Path(__file__).parent / "oidc_site.py"


class OidcProvider:
    """Process of the provider: started on entering, ended by its id on leaving.

    `redirect_uris`: on 127.0.0.1 any port will do.
    """

    client_id = "chatfeedback-of-the-tests"
    client_secret = "kept: 100% secret+/?&ü"  # of characters that have to be encoded on their way

    def __init__(self, folder: Path, *redirect_uris: str) -> None:
        self._folder = folder
        self._redirect_uris = redirect_uris
        self.issuer = ""

    def __enter__(self) -> OidcProvider:
        folder, client = str(self._folder), (self.client_id, self.client_secret)
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(SITE), folder, *client, *self._redirect_uris],
            stdin=subprocess.PIPE,  # its end ends the process if nothing else does
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        port = self._process.stdout.readline().strip()
        if not port:
            self.__exit__()
            raise AssertionError("the provider did not start; its standard error says why")
        self.issuer = f"http://127.0.0.1:{port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate()

    def rotate_key(self) -> None:
        """Have it sign with a new key from now on, and publish the old one no more."""
        httpx2.get(f"{self.issuer}/rotate-key/", trust_env=False, verify=PLAIN).raise_for_status()


def signed_in(address: str, name: str) -> str:
    """Sign in as `name` at the page of `address`; return the address that the browser is sent back to."""
    return _answered(address, {"name": name, "answer": "yes"})


def declined(address: str) -> str:
    """Decline at the page of `address`; return the address that the browser is sent back to."""
    return _answered(address, {"name": "", "answer": "no"})


def _answered(address: str, answer: dict[str, str]) -> str:
    provider = urlsplit(address).netloc
    with httpx2.Client(trust_env=False, verify=PLAIN) as browser:
        response = browser.get(address)
        while True:
            if not response.is_redirect:
                assert response.status_code == 200, response.text
                hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="(\w+)">', response.text))
                response = browser.post(response.url, data={**hidden, **answer})
                assert response.is_redirect, response.text
            target = urljoin(str(response.url), response.headers["location"])
            if urlsplit(target).netloc != provider:
                return target
            response = browser.get(target)
