package chart

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
)

// invalidValues is the error for values that the schema refuses.
type invalidValues struct{ error }

// render renders the case of the chart in dir; change, if there is one, gets each template before, by its path in the chart. It returns
// the templates' output by the same path.
func render(ctx context.Context, dir string, c Case, change func(name string, data []byte) ([]byte, error), funcs template.FuncMap) (map[string]string, error) {
	loaded, err := loader.Load(dir)
	if err != nil {
		return nil, err
	}
	if err := chartutil.ProcessDependencies(loaded, c.Values); err != nil {
		return nil, err
	}
	if err := eachTemplate(loaded, "", func(name string, file *common.File, _ *chart.Chart) error {
		if change == nil {
			return nil
		}
		file.Data, err = change(name, file.Data)
		return err
	}); err != nil {
		return nil, err
	}
	c.keepTemplates(loaded, "")
	loaded.Metadata.Version = cmp.Or(c.Chart.Version, loaded.Metadata.Version)
	loaded.Metadata.AppVersion = cmp.Or(c.Chart.AppVersion, loaded.Metadata.AppVersion)
	options := common.ReleaseOptions{
		Name: cmp.Or(c.Release.Name, "RELEASE-NAME"), Namespace: cmp.Or(c.Release.Namespace, "NAMESPACE"), Revision: c.Release.Revision,
		IsInstall: !c.Release.Upgrade, IsUpgrade: c.Release.Upgrade,
	}
	values, err := util.ToRenderValues(loaded, c.Values, options, c.capabilities())
	if err != nil {
		return nil, invalidValues{err}
	}
	all := template.FuncMap{"lookup": c.lookup}
	for name, f := range funcs {
		all[name] = f
	}
	out, err := engine.Engine{CustomTemplateFuncs: all}.RenderWithContext(ctx, loaded, values)
	if err != nil {
		return nil, err
	}
	rendered := make(map[string]string, len(out))
	for name, text := range out {
		rendered[strings.TrimPrefix(name, loaded.Name()+"/")] = text
	}
	return rendered, nil
}

// eachTemplate calls f with each template of the chart and its subcharts, its path in the outermost one, and the chart that it is of.
func eachTemplate(c *chart.Chart, route string, f func(name string, file *common.File, of *chart.Chart) error) error {
	for _, file := range c.Templates {
		if err := f(route+file.Name, file, c); err != nil {
			return err
		}
	}
	for _, dependency := range c.Dependencies() {
		if err := eachTemplate(dependency, route+"charts/"+dependency.Name()+"/", f); err != nil {
			return err
		}
	}
	return nil
}

// isPartial tells whether a template only has definitions.
func isPartial(name string) bool { return strings.HasPrefix(path.Base(name), "_") }

// keepTemplates removes the templates that the case is not about.
func (c Case) keepTemplates(from *chart.Chart, route string) {
	from.Templates = slices.DeleteFunc(from.Templates, func(file *common.File) bool {
		return !isPartial(file.Name) && len(c.Templates) > 0 && !c.isAbout(route+file.Name)
	})
	for _, dependency := range from.Dependencies() {
		c.keepTemplates(dependency, route+"charts/"+dependency.Name()+"/")
	}
}

// isAbout tells whether the case names the template.
func (c Case) isAbout(template string) bool {
	return slices.ContainsFunc(c.Templates, func(pattern string) bool {
		expression := "^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*") + "$"
		return regexp.MustCompile(expression).MatchString(template)
	})
}

func (c Case) capabilities() *common.Capabilities {
	caps := common.DefaultCapabilities.Copy()
	if c.Capabilities.MajorVersion != nil {
		caps.KubeVersion.Major = fmt.Sprint(c.Capabilities.MajorVersion)
	}
	if c.Capabilities.MinorVersion != nil {
		caps.KubeVersion.Minor = fmt.Sprint(c.Capabilities.MinorVersion)
	}
	caps.KubeVersion.Version = fmt.Sprintf("v%s.%s.0", caps.KubeVersion.Major, caps.KubeVersion.Minor)
	caps.APIVersions = c.Capabilities.APIVersions
	return caps
}

// lookup is the template function: one object by its name, all of a kind without, and an empty map when there is none.
func (c Case) lookup(apiVersion, kind, namespace, name string) (map[string]any, error) {
	var items []any
	for _, object := range c.Objects {
		metadata, _ := object["metadata"].(map[string]any)
		if object["apiVersion"] != apiVersion || object["kind"] != kind || namespace != "" && metadata["namespace"] != namespace {
			continue
		}
		if name != "" && metadata["name"] == name {
			return object, nil
		}
		items = append(items, object)
	}
	if name != "" || len(items) == 0 {
		return map[string]any{}, nil
	}
	return map[string]any{"items": items}, nil
}
