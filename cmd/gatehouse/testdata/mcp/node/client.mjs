// A client of the MCP TypeScript SDK: `client.mjs 2 URL` with @modelcontextprotocol/client, `client.mjs 1 URL` with
// @modelcontextprotocol/sdk. It prints the URL that it would open in the user's browser, calls the tool, and calls it
// again with an access token that is no longer valid, so that the SDK refreshes it. With the URL of a client ID metadata
// document as a third argument it does not register itself.
import { createServer } from 'node:http'

const [, , version, url, clientMetadataUrl] = process.argv
const { Client, StreamableHTTPClientTransport } = version === '2' ? await import('@modelcontextprotocol/client') : {
  ...await import('@modelcontextprotocol/sdk/client/index.js'),
  ...await import('@modelcontextprotocol/sdk/client/streamableHttp.js'),
}

const callback = createServer()
const redirected = new Promise(resolve => callback.on('request', (req, res) => {
  res.end('You can close this page')
  resolve(new URL(req.url, 'http://localhost').searchParams)
}))
await new Promise(resolve => callback.listen(0, 'localhost', resolve))

const stored = {}
const provider = {
  clientMetadataUrl,
  redirectUrl: `http://localhost:${callback.address().port}/callback`,
  get clientMetadata() {
    return {
      client_name: `TypeScript SDK ${version}`, redirect_uris: [this.redirectUrl], token_endpoint_auth_method: 'none',
      grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'],
    }
  },
  state: () => 'the state',
  clientInformation: () => stored.client,
  saveClientInformation: client => { stored.client = client },
  tokens: () => stored.tokens,
  saveTokens: tokens => { stored.tokens = tokens },
  codeVerifier: () => stored.verifier,
  saveCodeVerifier: verifier => { stored.verifier = verifier },
  redirectToAuthorization: authorization => console.log(`authorize: ${authorization}`),
}

async function call() {
  const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider: provider })
  const client = new Client({ name: 'test', version: '1.0.0' })
  try {
    await client.connect(transport)
  } catch (err) {
    if (stored.tokens) throw err
    const params = await redirected
    await (version === '2' ? transport.finishAuth(params) : transport.finishAuth(params.get('code')))
    return call()
  }
  const { content } = await client.callTool({ name: 'read_notes', arguments: {} })
  console.log(`result: ${content[0].text}`)
  await client.close()
}

await call()
stored.tokens = { ...stored.tokens, access_token: 'invalid' }
const { refresh_token: first } = stored.tokens
await call()
if (stored.tokens.refresh_token === first) throw new Error('the tokens were not refreshed')
callback.close()
process.exit()
