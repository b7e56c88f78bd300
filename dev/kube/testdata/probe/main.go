// Command probe answers over HTTP what a pod sees of its cluster, and keeps a value on its volume.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
)

const file = "/data/value"

func main() {
	// What the requests answer; an error is the answer too, with status 502.
	answers := map[string]func(*http.Request) (string, error){
		"PUT /value": func(r *http.Request) (string, error) {
			content, err := io.ReadAll(r.Body)
			if err != nil {
				return "", err
			}
			return "", os.WriteFile(file, content, 0o600)
		},
		"GET /value": func(*http.Request) (string, error) {
			content, err := os.ReadFile(file)
			return string(content), err
		},
		"GET /lookup": func(r *http.Request) (string, error) {
			addresses, err := net.DefaultResolver.LookupHost(r.Context(), r.FormValue("name"))
			return strings.Join(addresses, " "), err
		},
		"GET /fetch": func(r *http.Request) (string, error) {
			response, err := http.Get(r.FormValue("url"))
			if err != nil {
				return "", err
			}
			defer response.Body.Close()
			content, err := io.ReadAll(response.Body)
			return string(content), err
		},
		"GET /name": func(*http.Request) (string, error) { return os.Hostname() },
	}
	for pattern, answer := range answers {
		http.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			text, err := answer(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
			fmt.Fprint(w, text)
		})
	}
	fmt.Println("probe: listening")
	log.Fatal(http.ListenAndServe(":8080", nil))
}
