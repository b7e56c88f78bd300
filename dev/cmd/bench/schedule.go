package main

// side is one of the two that are compared.
type side string

const (
	pipelineSide side = "pipeline"
	shellSide    side = "shell"
)

// kind is what a run finds.
type kind string

const (
	// cold finds nothing: no build cache, no vulnerability database, nothing published.
	cold kind = "cold"
	// warm finds the build cache and the vulnerability database of the cold run before it, and nothing published.
	warm kind = "warm"
	// tried is warm, and tries the image, which neither side does otherwise: the script cannot.
	tried kind = "tried"
	// nothing finds everything published, by the warm run before it.
	nothing kind = "nothing"
)

// step is one run to be measured. Rounds count from 1.
type step struct {
	round int
	side  side
	kind  kind
}

// schedule returns the runs in their order. The sides take turns in going first, so that what a machine does meanwhile, and what the
// first of two warms up for the second, does not favour one of them. The script does not look for what is published.
func schedule(rounds int) []step {
	var steps []step
	for round := 1; round <= rounds; round++ {
		sides := []side{pipelineSide, shellSide}
		if round%2 == 0 {
			sides = []side{shellSide, pipelineSide}
		}
		for _, k := range []kind{cold, warm} {
			for _, s := range sides {
				steps = append(steps, step{round, s, k})
			}
		}
		steps = append(steps, step{round, pipelineSide, tried}, step{round, pipelineSide, nothing})
	}
	return steps
}
