"""A client of the MCP Python SDK: `client.py URL`.

It prints the URL that it would open in the user's browser, calls the tool, and calls it again after its access token
has expired by its own clock, so that the SDK refreshes it. With the URL of a client ID metadata document as a second
argument it does not register itself.
"""

import http.server
import sys
import urllib.parse

import anyio
import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata


class Storage:
    tokens = client_info = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client_info

    async def set_client_info(self, client_info):
        self.client_info = client_info


class Callback(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.params = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"You can close this page")

    def log_message(self, *args):
        pass


async def main(url, document=None):
    listener = http.server.HTTPServer(("localhost", 0), Callback)

    async def redirect(authorization):
        print("authorize:", authorization, flush=True)

    async def callback():
        await anyio.to_thread.run_sync(listener.handle_request)
        return AuthorizationCodeResult(**listener.params)

    storage = Storage()
    auth = OAuthClientProvider(
        url,
        OAuthClientMetadata(
            client_name="Python SDK", redirect_uris=[f"http://localhost:{listener.server_port}/callback"],
            grant_types=["authorization_code", "refresh_token"], response_types=["code"]),
        storage, redirect, callback, client_metadata_url=document)
    async with httpx2.AsyncClient(auth=auth, timeout=60) as http_client:
        async with Client(streamable_http_client(url, http_client=http_client)) as client:
            result = await client.call_tool("read_notes", {})
            print("result:", result.content[0].text)
            first = storage.tokens.refresh_token
            auth.context.token_expiry_time = 1
            result = await client.call_tool("read_notes", {})
            print("result:", result.content[0].text)
            assert storage.tokens.refresh_token != first, "the tokens were not refreshed"


anyio.run(main, *sys.argv[1:])
