package main

import (
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress returns functions for a progress bar on standard error, if that is a terminal: show draws it, end removes
// it.
func (p *program) progress(description string) (show func(now, total int64), end func()) {
	if !isTerminal(p.stderr) {
		return func(int64, int64) {}, func() {}
	}
	var bar *progressbar.ProgressBar
	return func(now, total int64) {
			if bar == nil {
				bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(p.stderr),
					progressbar.OptionSetDescription(description), progressbar.OptionShowCount(),
					progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100*time.Millisecond))
			}
			_ = bar.Set64(min(now, total)) // the terminal may be closed
		}, func() {
			if bar != nil {
				_ = bar.Finish()
			}
		}
}
