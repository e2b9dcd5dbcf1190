"""Pages of a real OpenID provider: Django, and django-oauth-toolkit, which shares no code with what is tested.

    python tests/oidc_site.py FOLDER CLIENT_ID CLIENT_SECRET REDIRECT_URI...

serves on 127.0.0.1, prints its port as one line when it answers, and ends when its standard input does. A user may
sign in under any name, once for each sign-in: no session is kept here. PKCE is required; the key is made at start.
A redirect address on 127.0.0.1 is allowed with any port.
"""

from __future__ import annotations

import socketserver
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import django
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application

PAGE = """<!doctype html><html lang="en"><title>Sign in</title><main><h1>Sign in</h1><form method="post">
<input type="hidden" name="csrfmiddlewaretoken" value="{csrf}">
<label>Name <input name="name" autofocus></label>
<button name="answer" value="yes">Sign in</button> <button name="answer" value="no">Decline</button>
</form></main></html>"""


def new_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


class Server(socketserver.ThreadingMixIn, WSGIServer):
    """Server with a thread for each connection: browsers open some that they do not use."""

    daemon_threads = True


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: standard error is for faults."""


def configure(folder: Path, port: int) -> None:
    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1"],
        AUTHENTICATION_BACKENDS=["django.contrib.auth.backends.ModelBackend"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "provider.db")}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "oauth2_provider"],
        LOGIN_URL="/login/",
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
        OAUTH2_PROVIDER={
            "OIDC_ENABLED": True,
            "OIDC_ISS_ENDPOINT": f"http://127.0.0.1:{port}",
            "OIDC_RSA_PRIVATE_KEY": new_key(),
            "OAUTH2_VALIDATOR_CLASS": "__main__.Validator",
            "PKCE_REQUIRED": True,
            "SCOPES": {"openid": "who you are", "profile": "your name"},
            "COMPLIANT_BCP_RFC9700_PKCE_METHOD": True,
            "COMPLIANT_BCP_RFC9700_AUTHZ_RESPONSE_ISS": True,
            "COMPLIANT_BCP_RFC9700_TOKEN_STORAGE": True,
        },
        MIGRATION_MODULES=dict.fromkeys(
            ("auth", "contenttypes", "oauth2_provider")
        ),  # tables at once, not step by step
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],  # fast; nothing here is worth a slow one
        ROOT_URLCONF="__main__",
        SECRET_KEY=new_key(),
        # A browser sends cookies to every port of a host: these must not be those of the site that is tested.
        CSRF_COOKIE_NAME="provider_csrf",
        SESSION_COOKIE_NAME="provider_session",
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
        USE_TZ=True,
    )


if __name__ == "__main__":
    folder, client_id, client_secret, *redirect_uris = sys.argv[1:]
    server = Server(("127.0.0.1", 0), Quiet)
    configure(Path(folder), server.server_port)
    django.setup()

    from django.contrib.auth import get_user_model, login, logout
    from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
    from django.middleware.csrf import get_token
    from django.urls import include, path
    from oauth2_provider.models import Application
    from oauth2_provider.oauth2_validators import OAuth2Validator
    from oauth2_provider.settings import oauth2_settings
    from oauth2_provider.views import AuthorizationView

    class Validator(OAuth2Validator):
        """Validator that tells a name in the ID token, and a nickname at the userinfo endpoint alone."""

        def get_additional_claims(self, request: Any) -> dict[str, str]:
            return {"preferred_username": request.user.username}

        def get_userinfo_claims(self, request: Any) -> dict[str, str]:
            return {**super().get_userinfo_claims(request), "nickname": f"{request.user.username} of userinfo"}

    class Authorize(AuthorizationView):
        """View that does not ask whether the site may know the name, and forgets who signed in."""

        def create_authorization_response(self, request: Any, scopes: Any, credentials: Any, allow: bool) -> Any:
            declined = self.request.session.get("declined", False)
            try:
                return super().create_authorization_response(request, scopes, credentials, allow and not declined)
            finally:
                logout(self.request)

    def sign_in(request: HttpRequest) -> HttpResponse:
        """Show the page with the form; skip it where the authorization request has a `login_hint`."""
        destination = request.GET["next"]
        hinted = parse_qs(urlsplit(destination).query).get("login_hint", [""])[0]
        name = request.POST.get("name", "").strip() or hinted
        declined = request.POST.get("answer") == "no"
        if not name and not declined:
            return HttpResponse(PAGE.format(csrf=get_token(request)))
        user, _ = get_user_model().objects.get_or_create(username=name or "nobody")
        login(request, user)
        request.session["declined"] = declined
        return HttpResponseRedirect(destination)

    def rotate_key(request: HttpRequest) -> HttpResponse:
        """Sign tokens with a new key from now on, and publish the old one no more; for tests."""
        oauth2_settings.OIDC_RSA_PRIVATE_KEY = new_key()
        return HttpResponse("rotated")

    urlpatterns = [
        path("authorize/", Authorize.as_view()),
        path("login/", sign_in),
        path("rotate-key/", rotate_key),
        path("", include("oauth2_provider.urls", namespace="oauth2_provider")),
    ]

    call_command("migrate", run_syncdb=True, verbosity=0)
    registered = {
        "client_secret": client_secret,
        "client_type": Application.CLIENT_CONFIDENTIAL,
        "authorization_grant_type": Application.GRANT_AUTHORIZATION_CODE,
        "redirect_uris": " ".join(redirect_uris),
        "algorithm": Application.RS256_ALGORITHM,
        "skip_authorization": True,
    }
    Application.objects.update_or_create(registered, client_id=client_id)
    server.set_app(get_wsgi_application())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)  # noqa: T201
    sys.stdin.read()
