// A minimal browser: it stores cookies, follows redirects within one server, and fills in the sign-in and consent forms
// by the field names that Gatehouse documents.
export class Browser {
  #cookies = new Map()

  async #send(url, init = {}) {
    const headers = new Headers(init.headers)
    const cookies = [...this.#cookies].map(([k, v]) => `${k}=${v}`).join('; ')
    if (cookies) headers.set('cookie', cookies)
    const response = await fetch(url, { ...init, headers, redirect: 'manual' })
    for (const line of response.headers.getSetCookie()) {
      const [pair] = line.split(';')
      const at = pair.indexOf('=')
      this.#cookies.set(pair.slice(0, at), pair.slice(at + 1))
    }
    return response
  }

  get(url) {
    return this.#send(url)
  }

  #post(url, form) {
    const headers = { origin: new URL(url).origin }
    return this.#send(url, { method: 'POST', body: new URLSearchParams(form), headers })
  }

  // authorize signs in, consents, and returns the authorization response: the URL of the redirect, or the posted form.
  async authorize(url, username, password) {
    let current = new URL(url)
    let response = await this.get(current)
    for (let step = 0; step < 12; step++) {
      const to = response.headers.get('location')
      if (to) {
        const next = new URL(to, current)
        if (next.host !== current.host) return next
        current = next
        response = await this.get(current)
        continue
      }
      const page = await response.text()
      const form = fields(page)
      const action = unescape(/<form[^>]* action="([^"]*)"/.exec(page)?.[1] ?? '')
      if (action.startsWith('https://app.example/')) {
        const headers = { 'content-type': 'application/x-www-form-urlencoded' }
        return new Request(action, { method: 'POST', body: new URLSearchParams(form), headers })
      }
      if (action.endsWith('/login')) Object.assign(form, { username, password })
      else if (action.endsWith('/consent')) form.decision = 'approve'
      else throw new Error(`${current} responded ${response.status}: ${textOf(page)}`)
      current = new URL(action, current)
      response = await this.#post(current, form)
    }
    throw new Error('more than 12 pages or redirects')
  }
}

function fields(page) {
  const out = {}
  for (const [input] of page.matchAll(/<input [^>]*>/g)) {
    const name = / name="([^"]*)"/.exec(input)?.[1]
    const submitted = input.includes('type="hidden"') || input.includes(' checked')
    if (name && submitted) out[name] = unescape(/ value="([^"]*)"/.exec(input)?.[1] ?? '')
  }
  return out
}

function textOf(page) {
  return page.replaceAll(/<[^>]*>/g, ' ').replaceAll(/\s+/g, ' ')
}

function unescape(text) {
  return text.replaceAll(/&#(\d+);/g, (_, n) => String.fromCodePoint(Number(n))).replaceAll('&quot;', '"')
    .replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&')
}
