package message

import "strings"

var (
	browserNames = [][2]string{
		{"Edg/", "Edge"}, {"OPR/", "Opera"}, {"Firefox/", "Firefox"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"},
	}
	systemNames = [][2]string{
		{"Android", "Android"}, {"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Windows", "Windows"}, {"Mac OS X", "macOS"},
		{"CrOS", "ChromeOS"}, {"Linux", "Linux"},
	}
)

// Browser returns a readable name for a user agent. It only helps users to distinguish their browsers.
func (l *Language) Browser(userAgent string) string {
	browser, system := firstName(browserNames, userAgent), firstName(systemNames, userAgent)
	switch {
	case browser == "":
		return l.Text("browser.unknown")
	case system == "":
		return browser
	}
	return l.Text("browser.on", browser, system)
}

// firstName returns the name of the first product whose token is in the user agent, or "".
func firstName(products [][2]string, userAgent string) string {
	for _, product := range products {
		if strings.Contains(userAgent, product[0]) {
			return product[1]
		}
	}
	return ""
}
