package gate

import (
	"encoding/json"
	"fmt"
	"io"
)

// WriteJSON writes the whole verdict as JSON.
func (v Verdict) WriteJSON(w io.Writer) error {
	if err := encode(w, v); err != nil {
		return fmt.Errorf("write the verdict as JSON: %w", err)
	}
	return nil
}

// encode writes indented JSON in which < and & stay readable: it is no part of a web page.
func encode(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}
