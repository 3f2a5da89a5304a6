// Calls the functions of a Go section of docs/frameworks.md for one volume after another. The test writes page.go, with the section's
// code and a function read.
//
//	reader DIRECTORY
//
// The volume of a case is DIRECTORY/CASE/podcreds. Each printed line is a JSON object: `reader`, `case`, and either `fields`, with values
// in base64, or `error`.
package main

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
)

// volume replaces /podcreds in the section's code.
var volume string

// rotate replaces the volume by its next version.
func rotate() {
	directory := filepath.Dir(volume)
	if err := os.Rename(volume, filepath.Join(directory, "earlier")); err != nil {
		panic(err)
	}
	if err := os.Rename(filepath.Join(directory, "rotated"), volume); err != nil {
		panic(err)
	}
}

func main() {
	cases, err := os.ReadDir(os.Args[1])
	if err != nil {
		panic(err)
	}
	out := json.NewEncoder(os.Stdout)
	encode := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	for _, entry := range cases {
		volume = filepath.Join(os.Args[1], entry.Name(), "podcreds")
		line := map[string]any{"reader": "Go", "case": entry.Name()}
		user, password, err := read()
		if err != nil {
			line["error"] = err.Error()
		} else {
			line["fields"] = map[string]string{"username": encode(user), "password": encode(password)}
		}
		if err := out.Encode(line); err != nil {
			panic(err)
		}
	}
}
