"""The smallest HTTP/1.1 client that can fetch a page of this site without blocking the event loop."""

import asyncio
from urllib.parse import urlsplit


async def get(url, timeout=20):
    """GET an http:// URL and return `(status, body)`; raise OSError or TimeoutError if there is no answer."""
    parts = urlsplit(url)
    async with asyncio.timeout(timeout):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
        try:
            writer.write(request_for(parts))
            # The request asks the server to close, so the answer ends where the connection does.
            answer = await reader.read()
        finally:
            writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return status_of(head, url), body


def request_for(parts):
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode("ascii")


def status_of(head, url):
    version, _, rest = head.partition(b" ")
    if not version.startswith(b"HTTP/1."):
        raise ConnectionError(f"{url} did not answer in HTTP: {head[:40]!r}")
    return int(rest[:3])
