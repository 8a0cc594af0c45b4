// Package templates has the HTML pages, the stylesheet and the messages. It has no logic: the packages of web decide
// what a page shows. The messages of pages are in en.json.
package templates

import "embed"

// FS has *.html, style.css, form_post.js and en.json.
//
//go:embed *.html style.css form_post.js en.json
var FS embed.FS
