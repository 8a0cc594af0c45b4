package totp

import (
	"fmt"
	"strings"

	"rsc.io/qr"
)

// QR is a QR code as the data of an SVG path: one square of the code is one unit, dark squares are filled.
type QR struct {
	Size int    // width and height of the view box, with the quiet zone
	Path string // the attribute d: only digits, M, h, v and z
}

// quietZone is the empty margin that scanners need, in squares (ISO/IEC 18004).
const quietZone = 4

// NewQR returns the QR code of a URI, or an error when the URI is too long.
func NewQR(uri string) (QR, error) {
	code, err := qr.Encode(uri, qr.M)
	if err != nil {
		return QR{}, fmt.Errorf("draw a QR code: %w", err)
	}
	var path strings.Builder
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			start := x
			for x < code.Size && code.Black(x, y) {
				x++
			}
			if x > start {
				fmt.Fprintf(&path, "M%d %dh%dv1h-%dz", start+quietZone, y+quietZone, x-start, x-start)
			}
		}
	}
	return QR{Size: code.Size + 2*quietZone, Path: path.String()}, nil
}
