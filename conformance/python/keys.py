"""Makes keys and tokens for the gateway that wants them, and asks it by plain HTTP."""

import json
import os
import time
import urllib.error
import urllib.request
from functools import lru_cache
from types import SimpleNamespace

GATEWAY = os.environ["TIDEGATE_KEYED_URL"]
ISSUER = os.environ["ISSUER_URL"]
ADMINISTRATOR = os.environ["TIDEGATE_ADMIN_KEY"]
# A change is in force within a second; the rest is for slow machines.
SECONDS_TO_BE_IN_FORCE = 15


def plain(url, body=None, headers=None):
    """A request without any SDK: status, headers and body."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json", **(headers or {})})
    try:
        response = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        return SimpleNamespace(status=response.status, headers=response.headers, text=response.read().decode())


def _administer(path, body):
    answer = plain(f"{GATEWAY}/admin/v1/keys{path}", body, {"authorization": f"Bearer {ADMINISTRATOR}"})
    assert answer.status in (200, 201), answer.text
    return SimpleNamespace(**json.loads(answer.text))


def code_of(secret):
    """What the gateway has against this key, in a word; `None` where it has nothing."""
    answer = plain(f"{GATEWAY}/v1/models", headers={"authorization": f"Bearer {secret}"})
    return None if answer.status == 200 else json.loads(answer.text)["error"]["code"]


def _wait(secret, is_so):
    deadline = time.monotonic() + SECONDS_TO_BE_IN_FORCE
    while not is_so(code_of(secret)):
        assert time.monotonic() < deadline, f"the key is still {code_of(secret) or 'let in'}"
        time.sleep(0.05)


def new_key(name="sdk", **fields):
    """A key, in force."""
    key = _administer("", {"name": name, **fields})
    _wait(key.secret, lambda code: code != "invalid_api_key")
    return key


@lru_cache
def shared_key(permissions="{}"):
    """The secret of a key without limits, the same for all tests that want these permissions."""
    return new_key(permissions=json.loads(permissions)).secret


def allowed(**permissions):
    return shared_key(json.dumps(permissions))


def limited(**limits):
    """The secret of a key that only this test has."""
    return new_key("limited", limits=limits).secret


@lru_cache
def unwelcome(why):
    """A secret that is refused, and why."""
    match why:
        case "unknown":
            secret = new_key().secret
            # Formed like a key, but for its checksum.
            return secret[:-1] + ("a" if secret[-1] != "a" else "b")
        case "another provider's":
            return "sk-proj-0123456789abcdef"
        case "disabled":
            key = new_key()
            _administer(f"/{key.id}/disable", {})
        case "expired":
            soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
            key = _administer("", {"name": "sdk", "expires_at": soon})
        case "rotated":
            key = new_key()
            new = _administer(f"/{key.id}/rotate", {"grace": "1s"})
            _wait(new.secret, lambda code: code is None)
    _wait(key.secret, lambda code: code == f"{why}_api_key")
    return key.secret


def rotated():
    """A key's secrets before and after it was rotated, with an hour for its users to change over."""
    key = new_key()
    new = _administer(f"/{key.id}/rotate", {"grace": "1h"})
    _wait(new.secret, lambda code: code is None)
    return key.secret, new.secret


def token(by="issuer", **claims):
    """A token of the identity provider, valid where the claims do not say otherwise."""
    now = int(time.time())
    usual = {"iss": "https://issuer.invalid", "aud": "conformance", "sub": "ada", "models": ["*"], "iat": now, "exp": now + 600}
    answer = plain(f"{ISSUER}/token?by={by}", {**usual, **claims})
    assert answer.status == 200, answer.text
    return answer.text
