// Package container has no code of its own: its tests build the image against a sandbox and run it, as a container of its own kernel
// namespaces, through what happens to it in production. They need Linux and root.
package container
