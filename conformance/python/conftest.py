"""What every test shares: the gateway's address, one client of each SDK, and a guard against traffic that leaves the
machine."""

import os
import struct
import sys
import zlib
from base64 import b64encode

import pytest

from scenarios import model_at

GATEWAY = os.environ["TIDEGATE_URL"]
PROVIDERS = ["openai", "anthropic", "gemini"]
KEY = "conformance"
SECONDS = 30


def _only_loopback(event, arguments):
    if event == "socket.connect":
        address = arguments[1]
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1"):
            raise AssertionError(f"an SDK tried to reach {address}")
    elif event == "socket.getaddrinfo" and arguments[0] not in ("127.0.0.1", "localhost", b"127.0.0.1", None):
        raise AssertionError(f"an SDK tried to look up {arguments[0]}")


sys.addaudithook(_only_loopback)


@pytest.fixture(params=PROVIDERS)
def provider(request):
    """The provider behind the gateway: every test runs against all three."""
    return request.param


@pytest.fixture
def model(provider):
    """The name of a simulated model at this provider."""
    return lambda scenario: model_at(provider, scenario)


def _png():
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0\xff\0\0\0\xff\0" * 2)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


PNG = _png()
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n%%EOF\n"


def base64(data):
    return b64encode(data).decode()


IMAGE_URL = "https://images.invalid/a%20cat.png"
