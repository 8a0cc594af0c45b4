package importer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
)

// input is a file that is read as a stream, with the progress over all files.
type input struct {
	*bufio.Reader

	name  string // without its directory, for locations
	file  *os.File
	bound *boundedReader
}

const (
	// maxValue is the maximum size of a user, of a line, and of everything else that is decoded as one value.
	maxValue = 4 << 20
	// maxList is the maximum size of what is not read as a stream: the groups, roles or clients of a realm, or a file of
	// Authelia.
	maxList = 64 << 20
)

// boundedReader returns a *sizeError when more bytes are read for one value than it may have.
type boundedReader struct {
	io.Reader
	left, max int
}

// Read implements io.Reader.
func (b *boundedReader) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, &sizeError{b.max}
	}
	n, err := b.Reader.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// next begins a value of at most so many bytes. What was read ahead does not count.
func (b *boundedReader) next(size int) { b.left, b.max = size+readAhead, size }

// readAhead is the buffer of an input.
const readAhead = 1 << 16

// sizeError is returned for a value that is too large.
type sizeError struct{ max int }

// Error implements error.
func (e *sizeError) Error() string { return fmt.Sprintf("a value is larger than %d MiB", e.max>>20) }

// progress is how much of all files was read, over all passes.
type progress struct {
	now, total int64
	show       func(now, total int64)
}

// reader returns r, whose reads are counted.
func (p *progress) reader(r io.Reader) io.Reader { return countingReader{r, p} }

type countingReader struct {
	io.Reader
	progress *progress
}

func (c countingReader) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.progress.now += int64(n)
	c.progress.show(c.progress.now, c.progress.total)
	return n, err
}

// eachFile calls fn with each file, which is opened for it, and reports the progress. passes is how often a format
// reads its files.
func (im *Importer) eachFile(files []string, p *progress, fn func(in *input) error) error {
	for _, path := range files {
		if err := readFile(path, p, fn); err != nil {
			return err
		}
	}
	return nil
}

func (im *Importer) newProgress(files []string, passes int64) (*progress, error) {
	p := &progress{show: im.options.Progress}
	for _, path := range files {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		p.total += passes * info.Size()
	}
	return p, nil
}

func readFile(path string, p *progress, fn func(in *input) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	bound := &boundedReader{Reader: p.reader(file)}
	bound.next(maxValue)
	err = fn(&input{bufio.NewReaderSize(bound, readAhead), filepath.Base(path), file, bound})
	return errors.Join(err, file.Close())
}

// at returns the location of an entry.
func (in *input) at(format string, args ...any) string {
	return in.name + ": " + fmt.Sprintf(format, args...)
}

// jsonError returns an error of the decoder with the line in the file.
func (in *input) jsonError(err error, offset int64) error {
	var syntax *json.SyntaxError
	var size *sizeError
	switch {
	case errors.As(err, &size):
		return fmt.Errorf("%s:%d: %w", in.name, in.lineAt(offset), size)
	case errors.As(err, &syntax):
		return fmt.Errorf("%s:%d: the file is not valid JSON: %w", in.name, in.lineAt(offset), err)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fmt.Errorf("%s: the file ends too early; it is not complete", in.name)
	}
	return err
}

// lineAt returns the number of the line at an offset.
func (in *input) lineAt(offset int64) int {
	line, buffer := 1, make([]byte, 1<<16)
	r := io.NewSectionReader(in.file, 0, offset)
	for {
		n, err := r.Read(buffer)
		line += bytes.Count(buffer[:n], []byte("\n"))
		if err != nil {
			return line
		}
	}
}

// skipBOM skips the byte order mark that some editors write.
func (in *input) skipBOM() {
	if b, err := in.Peek(3); err == nil && bytes.Equal(b, []byte("\xef\xbb\xbf")) {
		_, _ = in.Discard(3)
	}
}

// eachObject calls fn with the objects of a file, one after the other: those of an array, of the array that is the
// member key of an object, or one object after the other. invalid is why an object cannot be imported, and v is then
// what could be decoded of it.
func eachObject[T any](in *input, key string, fn func(entry int, v T, invalid error) error) error {
	in.skipBOM()
	start, err := in.Peek(1 << 10)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	d := json.NewDecoder(in)
	start = bytes.TrimSpace(start)
	wrapped := regexp.MustCompile(`^\{\s*"` + regexp.QuoteMeta(key) + `"\s*:\s*\[`)
	tokens := 0 // that begin the array
	switch {
	case bytes.HasPrefix(start, []byte("[")):
		tokens = 1
	case wrapped.Match(start):
		tokens = 3
	}
	for range tokens {
		if _, err := d.Token(); err != nil {
			return in.jsonError(err, d.InputOffset())
		}
	}
	return decodeObjects(in, d, fn)
}

// decodeObjects calls fn with each object that the decoder has until the end of the array or file.
func decodeObjects[T any](in *input, d *json.Decoder, fn func(entry int, v T, invalid error) error) error {
	for entry := 1; d.More(); entry++ {
		v, invalid, err := decodeRecord[T](in, d)
		if err != nil {
			return in.jsonError(err, d.InputOffset())
		}
		if err := fn(entry, v, invalid); err != nil {
			return err
		}
	}
	// More is false at the end of the input too.
	if _, err := d.Token(); err != nil && !errors.Is(err, io.EOF) {
		return in.jsonError(err, d.InputOffset())
	}
	return nil
}

// decodeRecord decodes a record. invalid is returned for one of the wrong type, after which the decoder can continue.
func decodeRecord[T any](in *input, d *json.Decoder) (v T, invalid, err error) {
	in.bound.next(maxValue)
	err = d.Decode(&v)
	if invalid = typeError(err); invalid != nil {
		return v, invalid, nil
	}
	return v, nil, err
}
