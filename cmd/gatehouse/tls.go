package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificate is a certificate on disk that is read again when its file changes.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex
	current *tls.Certificate
	stamp   string
	looked  time.Time
}

// loadCertificate fails when the certificate cannot be used now; a bad one later leaves the last good one in force.
func loadCertificate(certFile, keyFile string, log *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log}
	if err := c.read(c.fileStamp()); err != nil {
		return nil, fmt.Errorf("GATEHOUSE_TLS_CERT_FILE: %w", err)
	}
	return c, nil
}

// expiry is when the certificate in force expires, in Unix seconds.
func (c *certificate) expiry() float64 {
	current, _ := c.get(nil)
	return float64(current.Leaf.NotAfter.Unix())
}

func (c *certificate) read(stamp string) error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return err
	}
	c.current, c.stamp = &pair, stamp
	return nil
}

func (c *certificate) fileStamp() string {
	var out string
	for _, name := range []string{c.certFile, c.keyFile} {
		if info, err := os.Stat(name); err == nil {
			out += fmt.Sprint(info.ModTime().UnixNano(), info.Size(), ";")
		}
	}
	return out
}

// get looks at the files once a second at most.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.looked) > time.Second {
		c.looked = now
		if stamp := c.fileStamp(); stamp != c.stamp {
			if err := c.read(stamp); err != nil {
				c.log.Error("cannot read the changed TLS certificate; the last one stays in force", slog.Any("error", err))
				c.stamp = stamp
			} else {
				c.log.Info("the changed TLS certificate is in force", slog.Time("expires", c.current.Leaf.NotAfter))
			}
		}
	}
	return c.current, nil
}
