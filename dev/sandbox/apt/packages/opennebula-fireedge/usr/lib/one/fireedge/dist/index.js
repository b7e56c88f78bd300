// The stand-in for node does what this would do.
