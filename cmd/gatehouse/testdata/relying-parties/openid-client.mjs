// Uses Gatehouse with openid-client as an ordinary app does: dynamic registration, code flow with PKCE and nonce,
// userinfo, refresh, introspection, revocation and logout; then with keys, signed request objects, every ID token
// algorithm, form_post, and as a public client. It fails if the library throws an error.
import assert from 'node:assert/strict'
import * as client from 'openid-client'
import { exportJWK, generateKeyPair } from 'jose'
import { Browser } from './browser.mjs'

const [issuer, username, password] = process.argv.slice(2)
const callback = 'https://app.example/callback'
const bye = 'https://app.example/bye'
const strict = { execute: [client.enableNonRepudiationChecks] } // verify signatures also of responses over TLS

async function register(metadata, auth) {
  const all = { redirect_uris: [callback], post_logout_redirect_uris: [bye], ...metadata }
  return client.dynamicClientRegistration(new URL(issuer), all, auth, strict)
}

// signIn sends an authorization request in a browser and returns the tokens.
async function signIn(config, browser, parameters = {}, url) {
  const verifier = client.randomPKCECodeVerifier()
  const checks = {
    pkceCodeVerifier: verifier, expectedState: client.randomState(), expectedNonce: client.randomNonce(),
    idTokenExpected: true, maxAge: 3600,
  }
  const all = {
    redirect_uri: callback, scope: 'openid profile email offline_access', max_age: '3600',
    state: checks.expectedState, nonce: checks.expectedNonce,
    code_challenge: await client.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256', ...parameters,
  }
  const response = await browser.authorize(await (url ?? client.buildAuthorizationUrl)(config, all), username, password)
  return client.authorizationCodeGrant(config, response, checks)
}

async function check(name, run) {
  await run()
  console.log('ok', name)
}

await check('all operations of a confidential client', async () => {
  const config = await register({
    client_name: 'openid-client', grant_types: ['authorization_code', 'refresh_token'],
    token_endpoint_auth_method: 'client_secret_basic',
  }, client.ClientSecretBasic())
  const browser = new Browser()
  const tokens = await signIn(config, browser)
  const claims = tokens.claims()
  assert.equal(claims.azp, config.clientMetadata().client_id)
  assert.ok(claims.sid && claims.at_hash && claims.auth_time && claims.acr)
  const me = await client.fetchUserInfo(config, tokens.access_token, claims.sub)
  assert.equal(me.email, `${username}@example.com`)
  const refreshed = await client.refreshTokenGrant(config, tokens.refresh_token)
  assert.equal(refreshed.claims().sub, claims.sub)
  assert.equal((await client.tokenIntrospection(config, refreshed.access_token)).active, true)
  await client.tokenRevocation(config, refreshed.refresh_token)
  assert.equal((await client.tokenIntrospection(config, refreshed.access_token)).active, false)
  const logout = client.buildEndSessionUrl(config, {
    id_token_hint: refreshed.id_token, post_logout_redirect_uri: bye, state: 'the state',
  })
  const out = await browser.get(logout)
  assert.equal(out.headers.get('location'), `${bye}?state=the+state`)
})

await check('client_secret_post', async () => {
  const config = await register({ token_endpoint_auth_method: 'client_secret_post' }, client.ClientSecretPost())
  await signIn(config, new Browser(), { scope: 'openid' })
})

await check('a public client', async () => {
  const config = await register({ token_endpoint_auth_method: 'none' }, client.None())
  await signIn(config, new Browser(), { scope: 'openid' })
})

const algorithms = {
  ES256: {}, PS256: { modulusLength: 2048 }, RS256: { modulusLength: 2048 }, EdDSA: { crv: 'Ed25519' },
}
for (const [alg, options] of Object.entries(algorithms)) {
  await check(`private_key_jwt, signed request, ID token and userinfo with ${alg}`, async () => {
    const pair = await generateKeyPair(alg, options)
    const key = { key: pair.privateKey, kid: 'one' }
    // The library uses the name of RFC 9864 for the algorithm of an Ed25519 key, Gatehouse that of RFC 8037.
    const named = { [client.modifyAssertion]: (header) => { if (alg === 'EdDSA') header.alg = 'EdDSA' } }
    const config = await register({
      grant_types: ['authorization_code', 'refresh_token'], token_endpoint_auth_method: 'private_key_jwt',
      jwks: { keys: [{ ...(await exportJWK(pair.publicKey)), kid: 'one', alg, use: 'sig' }] },
      id_token_signed_response_alg: alg, userinfo_signed_response_alg: alg, request_object_signing_alg: alg,
    }, client.PrivateKeyJwt(key, named))
    const signed = (c, p) => client.buildAuthorizationUrlWithJAR(c, p, key, named)
    const tokens = await signIn(config, new Browser(), {}, signed)
    const me = await client.fetchUserInfo(config, tokens.access_token, tokens.claims().sub)
    assert.equal(me.preferred_username, username)
    await client.refreshTokenGrant(config, tokens.refresh_token)
  })
}

await check('form_post', async () => {
  const config = await register({ token_endpoint_auth_method: 'client_secret_post' }, client.ClientSecretPost())
  await signIn(config, new Browser(), { scope: 'openid', response_mode: 'form_post' })
})

await check('errors that the library parses', async () => {
  const config = await register({}, client.ClientSecretPost())
  await assert.rejects(signIn(config, new Browser(), { prompt: 'none' }), (e) => e.error === 'login_required')
  const fragment = register({ redirect_uris: ['https://app.example/#x'] })
  await assert.rejects(fragment, (e) => e.error === 'invalid_redirect_uri')
})
