// Package chart checks the Helm chart without a cluster: it reads the chart's test suites and renders them with branches that are
// counted, holds the values' schema against the values and the suites, finds what the pods that are rendered ask of Pod Security, and
// renders with both Helms.
package chart
