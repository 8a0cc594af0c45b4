package server

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"gatehouse/config"
	"gatehouse/message"
	"gatehouse/notify/mail"
	"gatehouse/templates"
	"gatehouse/web"
	"gatehouse/web/page"
)

// loadPages reads what the operator changes about the look of pages: templates, messages and images.
func (s *Server) loadPages() error {
	b := s.Config.Brand
	s.pages.Brand = page.Brand{
		Name: b.Name, Accent: b.Accent, SupportURL: b.SupportURL, ImprintURL: b.ImprintURL, PrivacyURL: b.PrivacyURL,
	}
	var errs [3]error
	if s.pages.Brand.Logo, errs[0] = readImage(b.LogoFile, maxLogo); errs[0] != nil {
		errs[0] = settingError("GATEHOUSE_BRAND_LOGO_FILE", errs[0])
	}
	if s.pages.Brand.Favicon, errs[1] = readImage(b.FaviconFile, maxFavicon); errs[1] != nil {
		errs[1] = settingError("GATEHOUSE_BRAND_FAVICON_FILE", errs[1])
	}
	var loadErr error
	if s.pages.Files, errs[2] = templates.Overlay(s.Config.TemplatesDir); s.pages.Files != nil {
		s.pages.Catalogue, loadErr = message.Load(s.pages.Files)
	}
	if err := errors.Join(errs[2], loadErr); err != nil {
		errs[2] = settingError("GATEHOUSE_TEMPLATES_DIR", err)
	}
	return errors.Join(errs[:]...)
}

// eachIncomplete calls fn with each language that lacks messages, and their keys.
func (s *Server) eachIncomplete(fn func(tag string, missing []string)) {
	for _, l := range s.pages.Catalogue.Languages() {
		if missing := l.Missing(); len(missing) > 0 {
			fn(l.Tag, missing)
		}
	}
}

// CheckPages returns an error that names the setting, and the file and line, for all templates, messages and images of
// the settings that are invalid. Templates are checked only if the messages are valid. An error in a template that all
// pages or all emails share, such as layout.html, hides errors in others. warn is called for languages that lack
// messages.
func CheckPages(cfg config.Config, warn func(string)) error {
	s := &Server{Config: cfg}
	err := s.loadPages()
	if s.pages.Catalogue == nil {
		return err
	}
	s.eachIncomplete(func(tag string, missing []string) {
		warn(fmt.Sprintf("GATEHOUSE_TEMPLATES_DIR: messages of the language %s are missing and shown in English: %d, the "+
			"first is %s", tag, len(missing), missing[0]))
	})
	s.pages.Issuer = cfg.IssuerURL()
	_, mailErr := mail.NewRenderer(s.mailOptions(time.Now))
	if invalid := errors.Join(web.CheckPages(s.pages), mailErr); invalid != nil {
		err = errors.Join(err, settingError("GATEHOUSE_TEMPLATES_DIR", invalid))
	}
	return err
}

// settingError returns an error that begins with the setting, or for joined errors one in which each line does.
func settingError(name string, err error) error {
	joined, ok := err.(interface{ Unwrap() []error }) //nolint:errorlint // of this error itself
	if ok && strings.Contains(err.Error(), "\n") {
		var errs []error
		for _, err := range joined.Unwrap() {
			errs = append(errs, settingError(name, err))
		}
		return errors.Join(errs...)
	}
	return fmt.Errorf("%s: %w", name, err)
}

// The sizes in KiB of the largest images of a brand, which every page loads (decision 75).
const (
	maxLogo    = 16
	maxFavicon = 16
)

// readImage reads an image of the brand of at most some KiB, or returns nil when there is none.
func readImage(name string, kib int) ([]byte, error) {
	if name == "" {
		return nil, nil
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(file, int64(kib)<<10+1))
	_ = file.Close()
	if err != nil {
		return nil, err
	}
	if len(content) > kib<<10 {
		return nil, fmt.Errorf("%s has more than %d KiB, and every page loads it: make the image smaller", name, kib)
	}
	if _, err := page.ImageType(content); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return content, nil
}

// Languages returns the tags of the languages of pages and emails.
func (s *Server) Languages() []string {
	var tags []string
	for _, l := range s.pages.Catalogue.Languages() {
		tags = append(tags, l.Tag)
	}
	return tags
}
