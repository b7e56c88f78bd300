// Package install has the tests that install the chart on a real Kubernetes, with an image that the pipeline has built.
package install
