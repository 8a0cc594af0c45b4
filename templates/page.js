// What pages do with JavaScript. Every page works without it, except for passkeys.
"use strict";

// The response to a client submits itself (OAuth 2.0 Form Post Response Mode). Without JavaScript the page has a button.
const response = document.getElementById("response");
if (response) {
  response.submit();
}

// A button shows what is typed into a password field.
for (const button of document.querySelectorAll("[data-reveal]")) {
  const field = document.getElementById(button.dataset.reveal);
  const show = button.textContent;
  button.hidden = false;
  button.addEventListener("click", () => {
    const hidden = field.type === "password";
    field.type = hidden ? "text" : "password";
    button.textContent = hidden ? button.dataset.hide : show;
    field.focus();
  });
  field.form.addEventListener("submit", () => { field.type = "password"; });
}

// A tile whose logo cannot be loaded has the first letters of the name, like one without a logo.
for (const logo of document.querySelectorAll("img[data-monogram]")) {
  const replace = () => {
    const tile = document.createElement("span");
    tile.className = "tile " + logo.dataset.tile;
    tile.textContent = logo.dataset.monogram;
    tile.setAttribute("aria-hidden", "true");
    logo.replaceWith(tile);
  };
  if (logo.complete && logo.naturalWidth === 0) {
    replace();
  } else {
    logo.addEventListener("error", replace);
  }
}

// Recovery codes are copied and downloaded.
for (const list of document.querySelectorAll("[data-codes]")) {
  const text = [...list.querySelectorAll("code")].map((code) => code.textContent).join("\n") + "\n";
  const actions = document.querySelector("[data-codes-actions]");
  actions.hidden = false;
  actions.querySelector("a").href =
    "data:text/plain;charset=utf-8," + encodeURIComponent(list.dataset.codes + "\n\n" + text);
  const button = actions.querySelector("button");
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", () => navigator.clipboard.writeText(text).then(
    () => { button.textContent = button.dataset.codesCopy; },
    () => getSelection().selectAllChildren(list)));
}

// The strip of tabs begins with the page that is shown.
const tab = document.querySelector(".tabs [aria-current]");
if (tab) {
  tab.scrollIntoView({ block: "nearest", inline: "center" });
}

// Times of users who have set no time zone are shown in that of the browser.
const language = document.documentElement.lang;
const day = (date) => new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
for (const time of document.querySelectorAll("time[data-local]")) {
  const at = new Date(time.dateTime);
  const days = Math.round((day(at) - day(new Date())) / 86400000);
  const date = days === 0 || days === -1
    ? new Intl.RelativeTimeFormat(language, { numeric: "auto" }).format(days, "day")
    : new Intl.DateTimeFormat(language, { dateStyle: "long" }).format(at);
  time.textContent = date + ", " + new Intl.DateTimeFormat(language, { timeStyle: "short", hourCycle: "h23" }).format(at);
}

// The time zones to choose from.
for (const list of document.querySelectorAll("datalist[data-zones]")) {
  for (const zone of Intl.supportedValuesOf ? Intl.supportedValuesOf("timeZone") : []) {
    list.append(new Option(zone, zone));
  }
}

// A sign-up has a proof of work, which is computed while the user types.
async function prove(challenge) {
  const zeros = parseInt(challenge, 10);
  const encoder = new TextEncoder();
  for (let nonce = 0; ; nonce++) {
    const hash = new DataView(await crypto.subtle.digest("SHA-256", encoder.encode(challenge + "." + nonce)));
    if (Math.clz32(hash.getUint32(0)) >= zeros) {
      return nonce;
    }
  }
}
for (const form of window.crypto.subtle ? document.querySelectorAll("[data-proof]") : []) {
  const proof = prove(form.dataset.proof).then((nonce) => { form.elements.nonce.value = nonce; });
  form.addEventListener("submit", async (event) => {
    if (form.elements.nonce.value === "") {
      event.preventDefault();
      await proof;
      form.submit();
    }
  });
}

// Passkeys (WebAuthn). The options and the responses are JSON; browsers without the conversions get them here.
const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const base64url = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const descriptors = (list) => (list || []).map((d) => ({ ...d, id: bytes(d.id) }));

function creationOptions(o) {
  if (PublicKeyCredential.parseCreationOptionsFromJSON) return PublicKeyCredential.parseCreationOptionsFromJSON(o);
  return { ...o, challenge: bytes(o.challenge), user: { ...o.user, id: bytes(o.user.id) },
    excludeCredentials: descriptors(o.excludeCredentials) };
}

function requestOptions(o) {
  if (PublicKeyCredential.parseRequestOptionsFromJSON) return PublicKeyCredential.parseRequestOptionsFromJSON(o);
  return { ...o, challenge: bytes(o.challenge), allowCredentials: descriptors(o.allowCredentials) };
}

function credentialJSON(c) {
  if (c.toJSON) return c.toJSON();
  const response = { clientDataJSON: base64url(c.response.clientDataJSON) };
  for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (c.response[name]) response[name] = base64url(c.response[name]);
  }
  if (c.response.getTransports) response.transports = c.response.getTransports();
  return { id: c.id, rawId: base64url(c.rawId), type: c.type, response,
    clientExtensionResults: c.getClientExtensionResults() };
}

// send puts the passkey into the form of the page and submits it.
function send(form, credential) {
  form.elements.passkey.value = JSON.stringify(credentialJSON(credential));
  form.submit();
}

// The user cancelled, or no passkey was found: the page stays as it is.
const stay = () => {};

if (window.PublicKeyCredential && navigator.credentials) {
  for (const form of document.querySelectorAll("[data-passkey-create]")) {
    const button = form.querySelector("button[hidden]");
    const registered = form.querySelector("[data-registered]");
    button.hidden = false;
    button.addEventListener("click", () => {
      const publicKey = creationOptions(JSON.parse(form.dataset.passkeyCreate));
      registered.hidden = true;
      navigator.credentials.create({ publicKey }).then((c) => send(form, c))
        .catch((e) => { registered.hidden = e.name !== "InvalidStateError"; });
    });
  }
  for (const form of document.querySelectorAll("[data-passkey-get]")) {
    const button = document.querySelector("[data-passkey-sign-in]");
    const publicKey = () => requestOptions(JSON.parse(form.dataset.passkeyGet));
    let autofill = new AbortController();
    button.hidden = false;
    for (const e of form.querySelectorAll("[data-passkey-missing]")) e.hidden = true;
    if ("first" in button.dataset) button.focus();
    button.addEventListener("click", () => {
      autofill.abort();
      navigator.credentials.get({ publicKey: publicKey() }).then((c) => send(form, c)).catch(stay);
    });
    if (PublicKeyCredential.isConditionalMediationAvailable) {
      PublicKeyCredential.isConditionalMediationAvailable().then((available) => available &&
        navigator.credentials.get({ publicKey: publicKey(), mediation: "conditional", signal: autofill.signal })
          .then((c) => send(form, c))).catch(stay);
    }
  }
  // A security key is used only when the user presses the button: the browser shows a dialog.
  for (const form of document.querySelectorAll("[data-key-get]")) {
    const button = form.querySelector("[data-key-use]");
    button.hidden = false;
    button.focus();
    button.addEventListener("click", () => {
      const publicKey = requestOptions(JSON.parse(form.dataset.keyGet));
      navigator.credentials.get({ publicKey }).then((c) => send(form, c)).catch(stay);
    });
  }
  // Password managers remove passkeys that no longer work, and rename those of a user who has a new name.
  const signal = (name, method) => {
    for (const e of PublicKeyCredential[method] ? document.querySelectorAll("[" + name + "]") : []) {
      PublicKeyCredential[method](JSON.parse(e.getAttribute(name))).catch(stay);
    }
  };
  signal("data-passkeys-accepted", "signalAllAcceptedCredentials");
  signal("data-passkeys-user", "signalCurrentUserDetails");
  signal("data-passkey-unknown", "signalUnknownCredential");
}
