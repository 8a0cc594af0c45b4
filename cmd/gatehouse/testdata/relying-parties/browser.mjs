// A browser of a few lines: it keeps cookies, follows redirects as long as they stay on one server, and fills in the
// sign-in and consent forms by the names that Gatehouse's contract gives them.
export class Browser {
  #cookies = new Map()

  async #send(url, init = {}) {
    const headers = new Headers(init.headers)
    if (this.#cookies.size > 0) headers.set('cookie', [...this.#cookies].map(([k, v]) => `${k}=${v}`).join('; '))
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
    return this.#send(url, { method: 'POST', body: new URLSearchParams(form), headers: { origin: new URL(url).origin } })
  }

  // authorize goes through the pages and returns the response to the app: the redirect's URL, or the form that is posted.
  async authorize(url, username, password) {
    let at = new URL(url)
    let response = await this.get(at)
    for (let step = 0; step < 12; step++) {
      const to = response.headers.get('location')
      if (to) {
        const next = new URL(to, at)
        if (next.host !== at.host) return next
        at = next
        response = await this.get(at)
        continue
      }
      const page = await response.text()
      const form = fields(page)
      const action = unescape(/<form[^>]* action="([^"]*)"/.exec(page)?.[1] ?? '')
      if (action.startsWith('https://app.example/')) {
        return new Request(action, { method: 'POST', body: new URLSearchParams(form), headers: { 'content-type': 'application/x-www-form-urlencoded' } })
      }
      if (action.endsWith('/login')) Object.assign(form, { username, password })
      else if (action.endsWith('/consent')) form.decision = 'approve'
      else throw new Error(`${at} responded ${response.status}: ${page.replaceAll(/<[^>]*>/g, ' ').replaceAll(/\s+/g, ' ')}`)
      at = new URL(action, at)
      response = await this.#post(at, form)
    }
    throw new Error('too many pages')
  }
}

function fields(page) {
  const out = {}
  for (const [input] of page.matchAll(/<input [^>]*>/g)) {
    const name = / name="([^"]*)"/.exec(input)?.[1]
    if (name && (input.includes('type="hidden"') || input.includes(' checked'))) out[name] = unescape(/ value="([^"]*)"/.exec(input)?.[1] ?? '')
  }
  return out
}

function unescape(text) {
  return text.replaceAll(/&#(\d+);/g, (_, n) => String.fromCodePoint(Number(n))).replaceAll('&quot;', '"').replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&')
}
