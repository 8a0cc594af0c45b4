// Sends the answer on to the app (OAuth 2.0 Form Post Response Mode). Without JavaScript the page has a button.
document.getElementById("answer").submit();
