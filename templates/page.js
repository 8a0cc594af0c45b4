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
for (const time of document.querySelectorAll("time[data-local]")) {
  const format = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "long", timeStyle: "short" });
  time.textContent = format.format(new Date(time.dateTime));
}
