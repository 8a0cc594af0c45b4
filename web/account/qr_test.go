package account_test

import (
	"image"
	"image/color"
	"image/draw"
	"regexp"
	"strconv"
	"testing"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/storagetest"
)

var (
	qrSize = regexp.MustCompile(`<svg class="qr" viewBox="0 0 (\d+) `)
	qrPath = regexp.MustCompile(`<path class="qr-dark" d="([^"]+)"`)
	qrRun  = regexp.MustCompile(`M(\d+) (\d+)h(\d+)v1h-\d+z`)
)

// readQR draws the QR code of a page as a browser does, and returns the text in it.
func readQR(t *testing.T, p servertest.Page) string {
	t.Helper()
	size, path := qrSize.FindStringSubmatch(p.Body), qrPath.FindStringSubmatch(p.Body)
	if size == nil || path == nil {
		t.Fatalf("the page has no QR code: %s", p.Body)
	}
	const pixels = 4 // of a module
	number := func(text string) int {
		n, err := strconv.Atoi(text)
		storagetest.Must(t, err)
		return n * pixels
	}
	picture := image.NewGray(image.Rect(0, 0, number(size[1]), number(size[1])))
	draw.Draw(picture, picture.Bounds(), image.NewUniform(color.White), image.Point{}, draw.Src)
	for _, run := range qrRun.FindAllStringSubmatch(path[1], -1) {
		x, y := number(run[1]), number(run[2])
		draw.Draw(picture, image.Rect(x, y, x+number(run[3]), y+pixels), image.Black, image.Point{}, draw.Src)
	}
	bitmap, err := gozxing.NewBinaryBitmapFromImage(picture)
	storagetest.Must(t, err)
	result, err := qrcode.NewQRCodeReader().Decode(bitmap, nil)
	storagetest.Must(t, err)
	return result.GetText()
}
