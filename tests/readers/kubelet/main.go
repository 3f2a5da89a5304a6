// Reads one env file per case with the kubelet's parser, and prints the fields.
//
//	kubelet FORMAT DIRECTORY
//
// The file of a case is DIRECTORY/CASE/db.envfile. Each line printed is a JSON object: `reader`, `case`, and either `fields`, with
// values in base64, or `error`.
package main

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/kubernetes/pkg/kubelet/util/env"
)

type answer struct {
	Reader string            `json:"reader"`
	Case   string            `json:"case"`
	Fields map[string]string `json:"fields,omitempty"`
	Error  string            `json:"error,omitempty"`
}

func main() {
	if len(os.Args) != 3 || os.Args[1] != "envfile" {
		panic("usage: kubelet envfile DIRECTORY")
	}
	files, err := filepath.Glob(filepath.Join(os.Args[2], "*", "db.envfile"))
	if err != nil {
		panic(err)
	}
	out := json.NewEncoder(os.Stdout)
	for _, file := range files {
		found := answer{Reader: "kubelet", Case: filepath.Base(filepath.Dir(file)), Fields: map[string]string{}}
		if err := read(file, found.Fields); err != nil {
			found.Error = err.Error()
		}
		if err := out.Encode(found); err != nil {
			panic(err)
		}
	}
}

// read looks up every name with which a line of the file may begin, because the parser finds one key at a time. To the kubelet, a key
// without a value is missing.
func read(file string, fields map[string]string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		key, _, isAssignment := strings.Cut(line, "=")
		if !isAssignment {
			continue
		}
		value, err := env.ParseEnv(file, key)
		if err != nil {
			return err
		}
		if value != "" {
			fields[key] = base64.StdEncoding.EncodeToString([]byte(value))
		}
	}
	return nil
}
