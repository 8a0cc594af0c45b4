// Package templates holds the pages, the stylesheet and the words of Gatehouse. It has no logic: web decides what a page
// shows, and every text a person reads stands in en.json.
package templates

import "embed"

// FS has *.html, style.css, form_post.js and en.json.
//
//go:embed *.html style.css form_post.js en.json
var FS embed.FS
