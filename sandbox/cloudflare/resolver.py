"""Keeps the sandbox's public DNS, pebble-challtestsrv, in step with the account.

Management interface: https://github.com/letsencrypt/pebble/tree/main/cmd/pebble-challtestsrv
"""

import asyncio

import aiohttp

from sandbox.cloudflare.origins import PublicRecords, public_records
from sandbox.cloudflare.state import State

_PATIENCE_SECONDS = 2.0


class Resolver:
    """Publishes names to challtestsrv. `management_url` None switches publishing off (tests of the API alone)."""

    def __init__(self, state: State, edge_address: str, management_url: str | None) -> None:
        self._state = state
        self._edge_address = edge_address
        self._url = management_url
        self._lock = asyncio.Lock()

    async def publish(self, *hosts: str) -> bool:
        """Publish the present records of the names.

        False when the DNS server does not answer; whoever starts it has all names published again.
        """
        if self._url is None:
            return False
        timeout = aiohttp.ClientTimeout(total=_PATIENCE_SECONDS)
        async with self._lock, aiohttp.ClientSession(self._url, timeout=timeout) as session:
            try:
                for host in sorted(set(hosts)):
                    await self._publish(session, host, public_records(self._state, host, self._edge_address))
            except (aiohttp.ClientError, TimeoutError):
                return False
        return True

    async def _publish(self, session: aiohttp.ClientSession, host: str, answer: PublicRecords) -> None:
        name = host + "."
        # Addresses are replaced in one step: a name that stays must not be gone for a moment.
        for kind, addresses in (("a", answer.a), ("aaaa", answer.aaaa)):
            if addresses:
                await self._post(session, f"/add-{kind}", host=name, addresses=list(addresses))
            else:
                await self._post(session, f"/clear-{kind}", host=name)
        if answer.cname:
            await self._post(session, "/set-cname", host=name, target=answer.cname.rstrip(".") + ".")
        else:
            await self._post(session, "/clear-cname", host=name)
        await self._post(session, "/clear-txt", host=name)
        for value in answer.txt:
            await self._post(session, "/set-txt", host=name, value=value)

    @staticmethod
    async def _post(session: aiohttp.ClientSession, path: str, **body: object) -> None:
        async with session.post(path, json=body) as response:
            response.raise_for_status()
