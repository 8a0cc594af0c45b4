// Package templates has the HTML pages, the stylesheet, the script and the messages, one file per language. It has no
// logic: the packages of web decide what a page shows. An operator may replace files with those of a directory.
package templates

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// FS has *.html, mail.txt, style.css, page.js and messages/*.json.
//
//go:embed *.html mail.txt style.css page.js messages/*.json
var FS embed.FS

// Messages is the directory of the message files in FS.
const Messages = "messages"

// Overlay returns FS in which the files of a directory replace those with the same names. The directory may have a file
// of messages for any language, but no template that FS does not have. With an empty name it is FS.
func Overlay(directory string) (fs.FS, error) {
	if directory == "" {
		return FS, nil
	}
	root, err := os.OpenRoot(directory)
	if err != nil {
		return nil, fmt.Errorf("cannot open the directory of templates: %w", err)
	}
	o := overlay{root.FS()}
	return o, o.check()
}

// overlay is a file system whose files are those of a directory, or else those of FS.
type overlay struct{ directory fs.FS }

// check returns an error for every file that has no effect, because its name may be misspelled.
func (o overlay) check() error {
	var errs []error
	err := fs.WalkDir(o.directory, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (name == "." || name == Messages):
			return nil
		case strings.HasPrefix(path.Base(name), "."): // of an editor or version control
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case path.Dir(name) == Messages && strings.HasSuffix(name, ".json"):
			return nil
		}
		if _, err := fs.Stat(FS, name); err != nil || entry.IsDir() {
			errs = append(errs, fmt.Errorf("%s: no template has this name; the directory may have %s and %s/*.json",
				name, strings.Join(replaceable(), ", "), Messages))
			if entry.IsDir() {
				return fs.SkipDir
			}
		}
		return nil
	})
	return errors.Join(append(errs, err)...)
}

func replaceable() []string {
	var names []string
	entries, err := FS.ReadDir(".")
	if err != nil {
		return nil
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			names = append(names, entry.Name())
		}
	}
	return names
}

// Open opens the file of the directory, or that of FS.
func (o overlay) Open(name string) (fs.File, error) {
	file, err := o.directory.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return FS.Open(name)
	}
	return file, err
}

// ReadDir lists the files of both.
func (o overlay) ReadDir(name string) ([]fs.DirEntry, error) {
	all, err := fs.ReadDir(FS, name)
	if err != nil {
		return nil, err
	}
	own, err := fs.ReadDir(o.directory, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, entry := range own {
		if !slices.ContainsFunc(all, func(e fs.DirEntry) bool { return e.Name() == entry.Name() }) {
			all = append(all, entry)
		}
	}
	return all, nil
}

// IsReplaced reports whether a file of an Overlay comes from its directory.
func IsReplaced(files fs.FS, name string) bool {
	o, ok := files.(overlay)
	if !ok {
		return false
	}
	_, err := fs.Stat(o.directory, name)
	return err == nil
}
