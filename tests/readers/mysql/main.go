// Reads one DSN per case with the parser of Go's MySQL driver, and prints its parts.
//
//	mysql FORMAT DIRECTORY
//
// The file of a case is DIRECTORY/CASE/db.txt. Each line printed is a JSON object: `reader`, `case`, and either `fields`, with values
// in base64, or `error`.
package main

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/go-sql-driver/mysql"
)

type answer struct {
	Reader string            `json:"reader"`
	Case   string            `json:"case"`
	Fields map[string]string `json:"fields,omitempty"`
	Error  string            `json:"error,omitempty"`
}

func main() {
	files, err := filepath.Glob(filepath.Join(os.Args[2], "*", "db.txt"))
	if err != nil {
		panic(err)
	}
	out := json.NewEncoder(os.Stdout)
	for _, file := range files {
		found := answer{Reader: "go-sql-driver", Case: filepath.Base(filepath.Dir(file))}
		text, err := os.ReadFile(file)
		if err != nil {
			panic(err)
		}
		if config, err := mysql.ParseDSN(string(text)); err != nil {
			found.Error = err.Error()
		} else {
			encode := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
			found.Fields = map[string]string{
				"username": encode(config.User), "password": encode(config.Passwd),
				"host": encode(config.Net + " " + config.Addr), "dbname": encode(config.DBName),
			}
		}
		if err := out.Encode(found); err != nil {
			panic(err)
		}
	}
}
