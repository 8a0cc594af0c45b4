package server

import (
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/config"
	"gatehouse/identity/passkey"
)

// passkeyMetadata is the file with the models of authenticators. It is read when it is first needed, and again when it
// changes.
type passkeyMetadata struct {
	settings config.Passkeys
	now      func() time.Time
	log      *slog.Logger

	mu      sync.Mutex
	current *passkey.Metadata
	version string // of the file that was read last
}

// get returns the metadata in use. When the file changes to an invalid one, the previous metadata stays in use, until
// it expires.
func (m *passkeyMetadata) get() (*passkey.Metadata, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var version string
	if info, err := os.Stat(m.settings.MetadataFile); err == nil {
		version = fmt.Sprint(info.ModTime().UnixNano(), info.Size())
	}
	if m.current != nil && version == m.version {
		return m.current, nil
	}
	next, err := m.read()
	switch {
	case err == nil:
		m.current, m.version = next, version
		m.log.Info("FIDO metadata read", slog.Int("models", next.Models()))
	case m.current == nil:
		return nil, err
	default:
		m.version = version // logged once for each change
		m.log.Error("changed FIDO metadata invalid, previous metadata stays in use", slog.Any("error", err))
	}
	return m.current, nil
}

func (m *passkeyMetadata) read() (*passkey.Metadata, error) {
	var root []byte
	if name := m.settings.MetadataRootFile; name != "" {
		var err error
		if root, err = os.ReadFile(name); err != nil { //nolint:gosec // a file that the operator chose
			return nil, settingError("GATEHOUSE_PASSKEY_METADATA_ROOT_FILE", err)
		}
	}
	file, err := os.ReadFile(m.settings.MetadataFile)
	if err != nil {
		return nil, settingError("GATEHOUSE_PASSKEY_METADATA_FILE", err)
	}
	out, err := passkey.ParseMetadata(file, root, m.now)
	if err != nil {
		return nil, settingError("GATEHOUSE_PASSKEY_METADATA_FILE", err)
	}
	return out, nil
}

// metadata returns the function that reads the models of authenticators, or nil without the setting. Nothing is read
// yet: most commands do not need it.
func (s *Server) metadata() func() (*passkey.Metadata, error) {
	if s.Config.Passkeys.MetadataFile == "" {
		return nil
	}
	m := &passkeyMetadata{settings: s.Config.Passkeys, now: s.Store.Now, log: s.log}
	s.readMetadata = m.get
	return m.get
}

// checkMetadata returns an error if the file with the models of authenticators cannot be used. If it has expired, the
// server starts nevertheless and creates no passkeys: signing in does not need the file.
func (s *Server) checkMetadata() error {
	if s.readMetadata == nil {
		return nil
	}
	m, err := s.readMetadata()
	if err != nil {
		return err
	}
	if err := m.CheckExpiry(s.Store.Now()); err != nil {
		s.log.Error("FIDO metadata expired, no passkeys can be created",
			slog.Any("error", settingError("GATEHOUSE_PASSKEY_METADATA_FILE", err)))
	}
	return nil
}

// registerMetadata adds the metric of when the metadata in use expires.
func (s *Server) registerMetadata(registry *prometheus.Registry) {
	if s.readMetadata == nil {
		return
	}
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gatehouse_passkey_metadata_expiry_timestamp_seconds",
		Help: "When the FIDO metadata in use expires, after which no passkeys can be created.",
	}, func() float64 {
		m, err := s.readMetadata()
		if err != nil {
			return 0
		}
		return float64(m.Expiry().Unix())
	}))
}

// CheckMetadata returns an error that names the setting if the file with the models of authenticators cannot be used or
// has expired.
func CheckMetadata(cfg config.Config) error {
	if cfg.Passkeys.MetadataFile == "" {
		return nil
	}
	file := &passkeyMetadata{settings: cfg.Passkeys, now: time.Now, log: slog.New(slog.DiscardHandler)}
	m, err := file.read()
	if err != nil {
		return err
	}
	if err := m.CheckExpiry(time.Now()); err != nil {
		return settingError("GATEHOUSE_PASSKEY_METADATA_FILE", err)
	}
	return nil
}
