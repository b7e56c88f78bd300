package helmrepo_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"opennebula-kube/ci/helmrepo"
)

// chartDir is the chart that this project releases.
const chartDir = "../../chart/opennebula"

// release is what the chart renders to.
type release struct {
	StatefulSet    appsv1.StatefulSet
	Service        corev1.Service
	ServiceAccount corev1.ServiceAccount
	Secret         *corev1.Secret
	Notes          string
}

// loadChart packages the chart for 7.4.0 and returns what is in the archive, with values for an installation in namespace cloud as prod.
func loadChart(t *testing.T, values string) (*chart.Chart, common.Values, error) {
	t.Helper()
	a, err := helmrepo.Package(chartDir, "7.4.0", epoch)
	if err != nil {
		t.Fatal(err)
	}
	c, err := loader.LoadArchive(bytes.NewReader(a.Data))
	if err != nil {
		t.Fatal(err)
	}
	var given map[string]any
	if err := yaml.Unmarshal([]byte(values), &given); err != nil {
		t.Fatal(err)
	}
	options := common.ReleaseOptions{Name: "prod", Namespace: "cloud", IsInstall: true}
	merged, err := util.ToRenderValues(c, given, options, common.DefaultCapabilities)
	return c, merged, err
}

func render(t *testing.T, values string) release {
	t.Helper()
	c, merged, err := loadChart(t, values)
	if err != nil {
		t.Fatal(err)
	}
	files, err := engine.Engine{Strict: true}.RenderWithContext(t.Context(), c, merged)
	if err != nil {
		t.Fatal(err)
	}
	var r release
	for path, text := range files {
		var into any
		switch strings.TrimPrefix(path, "opennebula/templates/") {
		case "statefulset.yaml":
			into = &r.StatefulSet
		case "service.yaml":
			into = &r.Service
		case "serviceaccount.yaml":
			into = &r.ServiceAccount
		case "secret.yaml":
			if strings.TrimSpace(text) == "" {
				continue
			}
			r.Secret = &corev1.Secret{}
			into = r.Secret
		case "NOTES.txt":
			r.Notes = text
			continue
		case "_helpers.tpl":
			continue
		default:
			t.Errorf("%s is not looked at by any test", path)
			continue
		}
		// Strict: a field that Kubernetes does not have is an error.
		if err := yaml.UnmarshalStrict([]byte(text), into); err != nil {
			t.Fatalf("%s: %v\n%s", path, err, text)
		}
	}
	return r
}

func TestChartLints(t *testing.T) {
	messages, err := helmrepo.Lint(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		if m.Severity != helmrepo.Info {
			t.Error(m)
		}
	}
}

func TestChartImage(t *testing.T) {
	for values, want := range map[string]string{
		``:                                     "ghcr.io/opennebula-kube/opennebula:7.4.0",
		`image: {tag: 7.4.0-2}`:                "ghcr.io/opennebula-kube/opennebula:7.4.0-2",
		`image: {repository: "r:5000/acme/o"}`: "r:5000/acme/o:7.4.0",
	} {
		spec := render(t, values).StatefulSet.Spec.Template.Spec
		for _, container := range append(spec.InitContainers, spec.Containers...) {
			if container.Image != want {
				t.Errorf("with %q, %s has image %s, not %s", values, container.Name, container.Image, want)
			}
		}
	}
}

func TestChartPassword(t *testing.T) {
	first, second := render(t, ""), render(t, "")
	for _, r := range []release{first, second} {
		if password := string(r.Secret.Data["password"]); !regexp.MustCompile(`^[A-Za-z0-9]{32}$`).MatchString(password) {
			t.Errorf("password %q is not 32 random characters", password)
		}
		if r.Secret.Annotations["helm.sh/resource-policy"] != "keep" {
			t.Error("the secret is deleted with the release, and its volume is not")
		}
	}
	if bytes.Equal(first.Secret.Data["password"], second.Secret.Data["password"]) {
		t.Error("two installations have the same password")
	}
	encoded := base64.StdEncoding.EncodeToString(first.Secret.Data["password"])
	if spec, err := json.Marshal(first.StatefulSet); err != nil || bytes.Contains(spec, first.Secret.Data["password"]) || bytes.Contains(spec, []byte(encoded)) {
		t.Errorf("the password is in the StatefulSet (%v)", err)
	}

	given := render(t, "auth: {existingSecret: mine}")
	if given.Secret != nil {
		t.Error("a secret is made although one is given")
	}
	for want, r := range map[string]release{"mine": given, first.Secret.Name: first} {
		volumes := r.StatefulSet.Spec.Template.Spec.Volumes
		if len(volumes) != 1 || volumes[0].Secret == nil || volumes[0].Secret.SecretName != want {
			t.Errorf("volumes %v, want one of secret %s", volumes, want)
		}
		if !strings.Contains(r.Notes, "get secret "+want+" ") {
			t.Errorf("the notes do not name secret %s:\n%s", want, r.Notes)
		}
	}
}

func TestChartVolume(t *testing.T) {
	set := render(t, "").StatefulSet
	if *set.Spec.Replicas != 1 {
		t.Errorf("%d replicas would share one SQLite file", *set.Spec.Replicas)
	}
	claims := set.Spec.VolumeClaimTemplates
	if len(claims) != 1 || claims[0].Spec.StorageClassName != nil || claims[0].Spec.Resources.Requests.Storage().String() != "20Gi" {
		t.Errorf("claims %+v", claims)
	}
	mounts := set.Spec.Template.Spec.Containers[0].VolumeMounts
	if len(mounts) != 1 || mounts[0].MountPath != "/var/lib/one" || mounts[0].Name != claims[0].Name {
		t.Errorf("mounts %+v", mounts)
	}
	claim := render(t, "persistence: {size: 1Ti, storageClass: fast}").StatefulSet.Spec.VolumeClaimTemplates[0].Spec
	if *claim.StorageClassName != "fast" || claim.Resources.Requests.Storage().String() != "1Ti" {
		t.Errorf("claim %+v", claim)
	}
}

func TestChartPorts(t *testing.T) {
	r := render(t, "service: {type: NodePort}")
	type port struct {
		number   int32
		protocol corev1.Protocol
	}
	byName := map[string]port{}
	for _, p := range r.StatefulSet.Spec.Template.Spec.Containers[0].Ports {
		byName[p.Name] = port{p.ContainerPort, p.Protocol}
	}
	want := []port{{2633, "TCP"}, {4124, "TCP"}, {4124, "UDP"}}
	var got []port
	for _, p := range r.Service.Spec.Ports {
		if target := byName[p.TargetPort.StrVal]; target != (port{p.Port, p.Protocol}) {
			t.Errorf("port %d/%s of the service leads to %+v", p.Port, p.Protocol, target)
		}
		got = append(got, port{p.Port, p.Protocol})
	}
	if !slices.Equal(got, want) || len(byName) != len(want) {
		t.Errorf("the service has %v and the pod %v, oned listens on %v", got, byName, want)
	}
	if r.Service.Spec.Type != "NodePort" {
		t.Errorf("type %s", r.Service.Spec.Type)
	}
	labels := r.StatefulSet.Spec.Template.Labels
	for _, selector := range []map[string]string{r.Service.Spec.Selector, r.StatefulSet.Spec.Selector.MatchLabels} {
		for key, value := range selector {
			if labels[key] != value {
				t.Errorf("the pod's %s is %q, it is selected by %q", key, labels[key], value)
			}
		}
	}
}

func TestChartSecurity(t *testing.T) {
	r := render(t, "imagePullSecrets: [{name: pull}]")
	spec := r.StatefulSet.Spec.Template.Spec
	if s := spec.SecurityContext; !*s.RunAsNonRoot || *s.RunAsUser != 9869 || *s.FSGroup != 9869 || s.SeccompProfile.Type != "RuntimeDefault" {
		t.Errorf("security context %+v", s)
	}
	for _, c := range append(spec.InitContainers, spec.Containers...) {
		if s := c.SecurityContext; *s.AllowPrivilegeEscalation || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
			t.Errorf("security context of %s: %+v", c.Name, s)
		}
		if c.Resources.Requests.Memory().String() != "1Gi" {
			t.Errorf("resources of %s: %+v", c.Name, c.Resources)
		}
	}
	if *r.ServiceAccount.AutomountServiceAccountToken || *spec.AutomountServiceAccountToken || spec.ServiceAccountName != r.ServiceAccount.Name {
		t.Error("the pod gets a token, or another account")
	}
	if len(spec.ImagePullSecrets) != 1 || spec.ImagePullSecrets[0].Name != "pull" {
		t.Errorf("pull secrets %v", spec.ImagePullSecrets)
	}
}

func TestChartNames(t *testing.T) {
	for values, want := range map[string]string{
		``:                        "prod-opennebula",
		`nameOverride: one`:       "prod-one",
		`fullnameOverride: cloud`: "cloud",
		`nameOverride: prod`:      "prod",
		`nameOverride: ` + strings.Repeat("x", 63): "prod-" + strings.Repeat("x", 47),
	} {
		r := render(t, values)
		if r.StatefulSet.Name != want || r.Service.Name != want || r.StatefulSet.Spec.ServiceName != want {
			t.Errorf("with %q: %s, %s", values, r.StatefulSet.Name, r.Service.Name)
		}
		if got := r.StatefulSet.Labels["app.kubernetes.io/version"]; got != "7.4.0" {
			t.Errorf("label version %q", got)
		}
	}
}

func TestChartSchema(t *testing.T) {
	for values, want := range map[string]string{
		`imaeg: {tag: x}`:                "imaeg",
		`image: {tag: "a b"}`:            "tag",
		`image: {tag: 7.4}`:              "tag",
		`image: {pullPolicy: Sometimes}`: "pullPolicy",
		`image: {repository: ""}`:        "repository",
		`persistence: {size: much}`:      "size",
		`service: {type: ExternalName}`:  "type",
		`imagePullSecrets: [pull]`:       "imagePullSecrets",
	} {
		if _, _, err := loadChart(t, values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v", values, err)
		}
	}
}

// Each value is read by a template: what nobody reads would be set in vain.
func TestChartValuesAreRead(t *testing.T) {
	c, err := loader.LoadDir(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	var templates strings.Builder
	for _, f := range c.Templates {
		templates.Write(f.Data)
	}
	var walk func(path string, values map[string]any)
	walk = func(path string, values map[string]any) {
		for key, value := range values {
			name := path + "." + key
			if inner, ok := value.(map[string]any); ok && len(inner) > 0 && name != ".Values.resources" {
				walk(name, inner)
			} else if !regexp.MustCompile(regexp.QuoteMeta(name) + `\b`).MatchString(templates.String()) {
				t.Errorf("no template reads %s", name)
			}
		}
	}
	walk(".Values", c.Values)
}

// The script that fills the volume runs here as it is, on other directories.
func TestChartPreparesVolume(t *testing.T) {
	script := render(t, "").StatefulSet.Spec.Template.Spec.InitContainers[0]
	image := map[string]string{
		"remotes/vmm/kvm/deploy":    "deploy 7.4.0",
		"remotes/etc/vmm/kvm/kvmrc": "default",
		"remotes/scripts_common.sh": "common 7.4.0",
		"datastores/0/.keep":        "",
		".ssh/config":               "Host *",
		"vms/.keep":                 "",
	}
	volume, one := t.TempDir(), tree(t, image)
	auth := tree(t, map[string]string{"password": "s3cret"})
	run := func() {
		t.Helper()
		text := strings.NewReplacer("/var/lib/one", one, "/volume", volume, "/auth/", auth+"/").Replace(script.Args[0])
		command := exec.CommandContext(t.Context(), script.Command[0], script.Command[1], text)
		if output, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, output)
		}
	}

	run()
	want := maps.Clone(image)
	want[".one/one_auth"] = "oneadmin:s3cret\n"
	if diff := cmp.Diff(want, content(t, volume)); diff != "" {
		t.Fatalf("a new volume:\n%s", diff)
	}
	if info, err := os.Stat(filepath.Join(volume, ".one/one_auth")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("one_auth: %v, %v", info.Mode(), err)
	}

	// Another image, a volume in use, and a start that was cut off while it copied.
	write(t, one, map[string]string{"remotes/vmm/kvm/deploy": "deploy 7.4.1", "remotes/etc/vmm/kvm/kvmrc": "new default"})
	write(t, auth, map[string]string{"password": "another"})
	used := map[string]string{"remotes/etc/vmm/kvm/kvmrc": "mine", "remotes/hooks/mine.rb": "mine", "one.db": "SQLite", ".new/half": "copied"}
	write(t, volume, used)
	if err := os.RemoveAll(filepath.Join(volume, "vms")); err != nil {
		t.Fatal(err)
	}
	run()
	maps.Copy(want, used)
	delete(want, ".new/half")
	want["remotes/vmm/kvm/deploy"] = "deploy 7.4.1"
	if diff := cmp.Diff(want, content(t, volume)); diff != "" {
		t.Errorf("a volume in use:\n%s", diff)
	}
}

// An image without drivers of its own is no fault.
func TestChartPreparesVolumeFromEmpty(t *testing.T) {
	script := render(t, "").StatefulSet.Spec.Template.Spec.InitContainers[0]
	volume := t.TempDir()
	text := strings.NewReplacer("/var/lib/one", t.TempDir(), "/volume", volume, "/auth/", tree(t, map[string]string{"password": "p"})+"/").Replace(script.Args[0])
	if output, err := exec.CommandContext(t.Context(), script.Command[0], script.Command[1], text).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	if diff := cmp.Diff(map[string]string{".one/one_auth": "oneadmin:p\n"}, content(t, volume)); diff != "" {
		t.Error(diff)
	}
}
