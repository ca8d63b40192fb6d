"""The form of the API's requests and answers."""

import json

from aiohttp import web

from sandbox.cloudflare.errors import invalid
from sandbox.cloudflare.state import JsonObject

RECORDS_PER_PAGE = 100
IDENTIFIER = "[0-9a-f]{32}"


def envelope(result: object, **extra: object) -> web.Response:
    """A successful answer."""
    return web.json_response({"success": True, "errors": [], "messages": [], "result": result, **extra})


async def json_object(request: web.Request) -> JsonObject:
    """The request's body, which must be a JSON object or empty."""
    try:
        body = json.loads(await request.text() or "{}")
    except json.JSONDecodeError as error:
        raise invalid(9207, "Request body is invalid.") from error
    if not isinstance(body, dict):
        raise invalid(9207, "Request body is invalid.")
    return body


def page(request: web.Request, entries: list[JsonObject], default_size: int) -> web.Response:
    """One page of a list, with the numbers a client needs to ask for the next."""
    try:
        size, number = int(request.query.get("per_page", default_size)), int(request.query.get("page", 1))
    except ValueError as error:
        raise invalid(1004, "page and per_page must be numbers") from error
    if size < 1 or number < 1:
        raise invalid(1004, "page and per_page must be at least 1")
    shown = entries[(number - 1) * size : number * size]
    info = {
        "page": number,
        "per_page": size,
        "count": len(shown),
        "total_count": len(entries),
        "total_pages": -(-len(entries) // size),
    }
    return envelope(shown, result_info=info)
