// Submits the response to the client (OAuth 2.0 Form Post Response Mode). Without JavaScript the page has a button.
document.getElementById("response").submit();
