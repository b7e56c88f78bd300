// Package github tells GitHub, over its REST API, what a run of the pipeline found: the gate's verdict to code scanning, and in one issue
// that scheduled runs fail, until they succeed again. All that it needs comes in through Options; it reads neither environment nor files.
//
// The calls are go-github's. To compile, it costs a program that uses net/http and encoding/json 7 s of processor time more (28 s
// against 21 s, 192 packages against 188), which is less than keeping GitHub's types, its pages and its several kinds of refusal by
// hand. cli/go-gh would cost 4 s and leave those to its user.
package github
