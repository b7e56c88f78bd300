package pipeline

import "context"

// Prebuilt is engine, but for its builds: each gives image, which the engine holds already.
func Prebuilt(engine Engine, image Image) Engine { return prebuilt{engine, image} }

type prebuilt struct {
	Engine
	image Image
}

// Build implements Engine.
func (p prebuilt) Build(context.Context, BuildSpec) (Image, error) { return p.image, nil }
