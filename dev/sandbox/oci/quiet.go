package oci

import (
	"context"
	"fmt"
	"io"

	"github.com/sirupsen/logrus"
)

// quiet is a context that hands the registry's handlers a logger that says nothing. They look for one under a key that only they
// can make; without it they write to the process's own standard logger, which is not ours to redirect: others in the process
// use it.
type quiet struct {
	context.Context
	logger *logrus.Entry
}

// Value recognises the handlers' key by the name of its type.
func (q quiet) Value(key any) any {
	if found := q.Context.Value(key); found != nil {
		return found
	}
	if fmt.Sprintf("%T", key) == "dcontext.loggerKey" {
		return q.logger
	}
	return nil
}

func discard() *logrus.Entry {
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	logger.SetLevel(logrus.PanicLevel)
	return logrus.NewEntry(logger)
}
