// What pages do with JavaScript. Every page works without it.
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
