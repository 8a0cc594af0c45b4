package server

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificate is a TLS certificate on disk that is reloaded when its files change.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu        sync.Mutex
	current   *tls.Certificate
	version   string // of the files that were read last
	checkedAt time.Time
}

// loadCertificate loads the certificate. When the files change to an invalid one, the previous certificate stays in
// use.
func loadCertificate(certFile, keyFile string, log *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log}
	if err := c.read(c.fileVersion()); err != nil {
		return nil, fmt.Errorf("GATEHOUSE_TLS_CERT_FILE: %w", err)
	}
	return c, nil
}

// expiry returns when the certificate in use expires, in Unix seconds.
func (c *certificate) expiry() float64 {
	current, _ := c.get(nil)
	return float64(current.Leaf.NotAfter.Unix())
}

func (c *certificate) read(version string) error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return err
	}
	c.current, c.version = &pair, version
	return nil
}

// fileVersion returns a string that changes when one of the files is replaced or written.
func (c *certificate) fileVersion() string {
	var out string
	for _, name := range []string{c.certFile, c.keyFile} {
		if info, err := os.Stat(name); err == nil {
			out += fmt.Sprint(info.ModTime().UnixNano(), info.Size(), ";")
		}
	}
	return out
}

// get returns the certificate in use. It checks the files at most once a second.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.checkedAt) > time.Second {
		c.checkedAt = now
		if version := c.fileVersion(); version != c.version {
			if err := c.read(version); err != nil {
				c.log.Error("changed TLS certificate is unusable, keeping the last one", slog.Any("error", err))
				c.version = version
			} else {
				c.log.Info("TLS certificate reloaded", slog.Time("expires", c.current.Leaf.NotAfter))
			}
		}
	}
	return c.current, nil
}
