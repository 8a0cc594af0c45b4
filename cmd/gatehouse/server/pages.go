package server

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"gatehouse/config"
	"gatehouse/message"
	"gatehouse/templates"
	"gatehouse/web"
	"gatehouse/web/page"
)

// loadPages reads what the operator changes about the look of pages: templates, messages and images.
func (s *Server) loadPages() error {
	files, err := templates.Overlay(s.Config.TemplatesDir)
	if err != nil {
		return settingError("GATEHOUSE_TEMPLATES_DIR", err)
	}
	catalogue, err := message.Load(files)
	if err != nil {
		return settingError("GATEHOUSE_TEMPLATES_DIR", err)
	}
	for _, l := range catalogue.Languages() {
		if missing := l.Missing(); len(missing) > 0 {
			s.log.Warn("messages are missing and shown in English", slog.String("language", l.Tag),
				slog.Int("missing", len(missing)), slog.String("first", missing[0]))
		}
	}
	b := s.Config.Brand
	s.pages = page.Options{Files: files, Catalogue: catalogue, Brand: page.Brand{
		Name: b.Name, Accent: b.Accent, SupportURL: b.SupportURL, ImprintURL: b.ImprintURL, PrivacyURL: b.PrivacyURL,
	}}
	if s.pages.Brand.Logo, err = readImage(b.LogoFile); err != nil {
		return settingError("GATEHOUSE_BRAND_LOGO_FILE", err)
	}
	if s.pages.Brand.Favicon, err = readImage(b.FaviconFile); err != nil {
		return settingError("GATEHOUSE_BRAND_FAVICON_FILE", err)
	}
	return nil
}

// CheckPages returns an error that names the setting, and the file and line, when templates, messages or images of the
// settings are invalid.
func CheckPages(cfg config.Config) error {
	s := &Server{Config: cfg, log: slog.New(slog.DiscardHandler)}
	if err := s.loadPages(); err != nil {
		return err
	}
	s.pages.Issuer = cfg.IssuerURL()
	if err := web.CheckPages(s.pages); err != nil {
		return settingError("GATEHOUSE_TEMPLATES_DIR", err)
	}
	return nil
}

func settingError(name string, err error) error { return fmt.Errorf("%s: %w", name, err) }

// maxImage is the size of the largest image of a brand, which every page loads.
const maxImage = 64 << 10

// readImage reads an image of the brand, or returns nil when there is none.
func readImage(name string) ([]byte, error) {
	if name == "" {
		return nil, nil
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(file, maxImage+1))
	_ = file.Close()
	if err != nil {
		return nil, err
	}
	if len(content) > maxImage {
		return nil, fmt.Errorf("%s has more than 64 KiB", name)
	}
	if _, err := page.ImageType(content); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return content, nil
}

// uiLocales returns the languages of the pages.
func (s *Server) uiLocales() []string {
	var tags []string
	for _, l := range s.pages.Catalogue.Languages() {
		tags = append(tags, l.Tag)
	}
	return tags
}
