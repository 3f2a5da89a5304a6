// Finds files with Go's directory walks, or watches a file with viper.
//
//	volume walks DIRECTORY…
//	volume viper FILE
//
// Each line of `walks` is a JSON object: `reader`, `directory`, and `files` with the text of each; the entries that a walk does not treat as
// directories. `viper` prints the password in FILE once it watches, and again after each change that viper reports.
package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"

	"github.com/fsnotify/fsnotify"
	"github.com/spf13/viper"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 3 {
		log.Fatal("usage: volume walks DIRECTORY…, or volume viper FILE")
	}
	if os.Args[1] == "viper" {
		follow(os.Args[2])
	}
	for _, directory := range os.Args[2:] {
		print("filepath.Walk", directory, func(visit func(string)) error {
			return filepath.Walk(directory, func(path string, info fs.FileInfo, err error) error {
				if err == nil && !info.IsDir() {
					visit(path)
				}
				return err
			})
		})
		print("filepath.WalkDir", directory, func(visit func(string)) error {
			return filepath.WalkDir(directory, func(path string, entry fs.DirEntry, err error) error {
				if err == nil && !entry.IsDir() {
					visit(path)
				}
				return err
			})
		})
		print("filepath.Glob", directory, func(visit func(string)) error {
			paths, err := filepath.Glob(filepath.Join(directory, "*"))
			for _, path := range paths {
				visit(path)
			}
			return err
		})
	}
}

func print(reader, directory string, walk func(visit func(string)) error) {
	files := map[string]string{}
	err := walk(func(path string) {
		name, err := filepath.Rel(directory, path)
		if err != nil {
			log.Fatal(err)
		}
		// A link to a directory has no text.
		text, _ := os.ReadFile(path)
		files[name] = string(text)
	})
	if err != nil {
		log.Fatalf("%s of %s: %v", reader, directory, err)
	}
	line := map[string]any{"reader": reader, "directory": directory, "files": files}
	if err := json.NewEncoder(os.Stdout).Encode(line); err != nil {
		log.Fatal(err)
	}
}

func follow(file string) {
	viper.SetConfigFile(file)
	if err := viper.ReadInConfig(); err != nil {
		log.Fatal(err)
	}
	viper.OnConfigChange(func(fsnotify.Event) { fmt.Println(viper.GetString("password")) })
	viper.WatchConfig()
	fmt.Println(viper.GetString("password"))
	select {}
}
