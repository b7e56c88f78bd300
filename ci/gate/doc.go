// Package gate decides whether an image may be released: scanner reports and a policy in, a verdict out. It reads no clock, file
// or network. Whatever keeps it from a trustworthy answer is an error, never a pass.
package gate
