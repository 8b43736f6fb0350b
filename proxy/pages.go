package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"html"
	"io"
	"os"
	"unicode/utf8"
)

// MaxPage is how large the file of a page may be, in bytes.
const MaxPage = 64 << 10

// idPlace is where a page shows the id of the request. It is the only thing in
// a page that differs from one answer to the next.
const idPlace = "{request.id}"

// A page is the operator's own HTML for a status.
type page [][]byte // what stands around the ids

// ReadPage reads the file of a page.
func ReadPage(name string) ([]byte, error) {
	f, err := os.Open(name) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxPage+1))
	switch {
	case err != nil:
	case len(text) > MaxPage:
		err = errors.New("larger than 64KiB")
	case len(bytes.TrimSpace(text)) == 0:
		err = errors.New("the file is empty")
	case !utf8.Valid(text):
		err = errors.New("not UTF-8 text")
	}
	return text, err
}

// readPages reads the files of pages by status.
func readPages(files map[int]string) (map[int]page, error) {
	pages := make(map[int]page, len(files))
	for status, name := range files {
		text, err := ReadPage(name)
		if err != nil {
			return nil, fmt.Errorf("the page for %d, %s: %w", status, name, err)
		}
		pages[status] = bytes.Split(text, []byte(idPlace))
	}
	return pages, nil
}

// render fills in the id, which may be that of a trusted proxy.
func (p page) render(id string) []byte { return bytes.Join(p, []byte(html.EscapeString(id))) }
