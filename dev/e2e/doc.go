// Package e2e has no code of its own: its tests run the whole pipeline, as a person would type it, on the embedded engine against a
// sandbox. They need Linux and root.
package e2e
