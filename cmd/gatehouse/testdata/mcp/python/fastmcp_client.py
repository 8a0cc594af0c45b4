"""A client of FastMCP: `fastmcp_client.py URL`. It opens the user's browser, and calls the tool."""

import asyncio
import sys

from fastmcp import Client


async def main(url):
    async with Client(url, auth="oauth") as client:
        result = await client.call_tool("read_notes", {})
        print("result:", result.content[0].text)


asyncio.run(main(sys.argv[1]))
