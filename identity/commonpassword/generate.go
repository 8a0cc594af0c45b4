//go:build ignore

// Command generate writes passwords.bin from a JSON list of passwords. scripts/common-passwords.sh runs it.
package main

import (
	"crypto/sha256"
	"encoding/json"
	"log"
	"os"
	"slices"
	"strings"
	"unicode/utf8"
)

func main() {
	content, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	var passwords []string
	if err := json.Unmarshal(content, &passwords); err != nil {
		log.Fatal(err)
	}
	var hashes []string
	for _, p := range passwords {
		if utf8.RuneCountInString(p) < 4 { // shorter ones are never looked up
			continue
		}
		sum := sha256.Sum256([]byte(strings.ToLower(p)))
		hashes = append(hashes, string(sum[:5]))
	}
	slices.Sort(hashes)
	hashes = slices.Compact(hashes)
	if err := os.WriteFile("passwords.bin", []byte(strings.Join(hashes, "")), 0o644); err != nil {
		log.Fatal(err)
	}
	log.Printf("%d passwords, %d entries", len(passwords), len(hashes))
}
