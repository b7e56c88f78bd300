// Package ocilayout reads and writes images as OCI layouts, the form in which build engines, Trivy and registries hand them to one
// another.
package ocilayout
