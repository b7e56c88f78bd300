package exercise_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"opennebula-kube/image/exercise"
)

func TestRun(t *testing.T) {
	for _, inCookie := range []bool{false, true} {
		i := install(t)
		i.sessionInCookie = inCookie
		i.add("host", thing{name: "kvm-1", states: []string{"2"}})
		i.add("vm", thing{name: "somebody's", states: []string{"3 3"}})
		var steps []string
		var over []int
		i.Over = func(machine int) { over = append(over, machine) }
		if err := i.Run(t.Context(), func(step string) { steps = append(steps, step) }); err != nil {
			t.Fatal(err)
		}
		if len(steps) != 11 {
			t.Errorf("steps %q, want 11", steps)
		}
		if want := []int{2, 1}; !slices.Equal(over, want) {
			t.Errorf("machines %v are over, want that of the service and the other: %v", over, want)
		}
		if got, want := i.left(), []string{"host kvm-1", "vm somebody's"}; !slices.Equal(got, want) {
			t.Errorf("left are %q, want what was there before: %q", got, want)
		}
	}
}

// TestRunAfterOneThatWasCutOff begins with what such a one has left, before and after each of its calls that change something.
func TestRunAfterOneThatWasCutOff(t *testing.T) {
	whole := install(t)
	if err := whole.Run(t.Context(), func(string) {}); err != nil {
		t.Fatal(err)
	}
	var cuts []int
	for n, call := range whole.calls {
		if !strings.HasPrefix(call, "GET ") && !strings.HasSuffix(call, "info") {
			cuts = append(cuts, n, n+1)
		}
	}
	most := 0
	for _, n := range slices.Compact(cuts) {
		i := install(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		server := i.HTTP.Transport
		i.HTTP.Transport = cutter{server, func() bool {
			i.mu.Lock()
			defer i.mu.Unlock()
			if len(i.calls) < n {
				return false
			}
			cancel(errors.New("cut off"))
			return true
		}}
		if err := i.Run(ctx, func(string) {}); err == nil && n < len(i.calls) {
			t.Fatalf("cut off before call %d, it has no error", n)
		}
		most = max(most, len(i.left()))
		i.HTTP.Transport = server
		if err := i.Run(t.Context(), func(string) {}); err != nil {
			t.Errorf("after one that was cut off before call %d: %v", n, err)
		}
		if left := i.left(); len(left) > 0 {
			t.Errorf("after one that was cut off before call %d are left: %q", n, left)
		}
	}
	if most < 7 {
		t.Errorf("a run that was cut off has left %d objects at most: this tests little", most)
	}
}

type cutter struct {
	http.RoundTripper
	cut func() bool
}

func (c cutter) RoundTrip(r *http.Request) (*http.Response, error) {
	if c.cut() {
		return nil, errors.New("cut off")
	}
	return c.RoundTripper.RoundTrip(r)
}

// answer always answers the same.
func answer(text string) func([]string) (string, string) {
	return func([]string) (string, string) { return text, "" }
}

func refuse(reason string) func([]string) (string, string) {
	return func([]string) (string, string) { return "", reason }
}

func status(code int, body string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) { http.Error(w, body, code) }
}

const vmOf = "<VM><ID>0</ID><NAME>one_exercise_machine</NAME><STATE>%s</STATE><LCM_STATE>%s</LCM_STATE><STIME>1764341000</STIME>" +
	"<TEMPLATE><CREATED_BY>0</CREATED_BY></TEMPLATE><USER_TEMPLATE>%s</USER_TEMPLATE>%s</VM>"

func vm(state, lcm, user, history string) func([]string) (string, string) {
	return answer(fmt.Sprintf(vmOf, state, lcm, user, history))
}

func record(result string) func([]string) (string, string) {
	return answer("<HOOK><ID>0</ID><HOOKLOG><HOOK_EXECUTION_RECORD><EXECUTION_RESULT>" + result + "</EXECUTION_RESULT></HOOK_EXECUTION_RECORD></HOOKLOG></HOOK>")
}

// TestFaults has an installation with one fault, and wants one sentence that says what was being done and what was found.
func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		method string
		answer func([]string) (string, string)
		path   string
		serve  func(http.ResponseWriter)
		want   []string
		// stays is whether what was made cannot be removed.
		stays bool
	}{
		"oned refuses the password": {
			method: "one.user.info", answer: refuse("User couldn't be authenticated, aborting call."),
			want: []string{"log in to oned at http://", "as oneadmin: oned refuses one.user.info: [one.user.info] User couldn't be authenticated", "; look whether the password"},
		},
		"oned is another server": {
			method: "one.user.info", answer: answer("<USER><NAME>root</NAME></USER>"), want: []string{`it takes us for "root"`},
		},
		"oned answers no document": {method: "one.user.info", answer: answer("hello"), want: []string{"read the answer to one.user.info", `"hello"`}},
		"FireEdge refuses": {
			path: "POST /fireedge/api/auth", serve: status(http.StatusUnauthorized, `{"id":401,"message":"Unauthorized"}`),
			want: []string{"log in to FireEdge at http://", "answered with 401 Unauthorized", "; look into fireedge.log"},
		},
		"FireEdge gives no token": {
			path: "POST /fireedge/api/auth", serve: status(http.StatusOK, `{"id":200,"data":{"token":""}}`), want: []string{"neither the answer nor a cookie"},
		},
		"FireEdge answers a page": {path: "POST /fireedge/api/auth", serve: status(http.StatusOK, `<html>`), want: []string{"is not JSON"}},
		"no dummy drivers": {
			method: "one.host.allocate", answer: refuse("Allocate failed"), want: []string{"add the host one_exercise_host", "Allocate failed; look whether oned.conf"},
		},
		"oned answers no number": {
			method: "one.host.allocate", answer: answer("<ID>0</ID>"), want: []string{"add the host one_exercise_host", `answers "<ID>0</ID>"`},
		},
		"host in error": {
			method: "one.host.info", answer: answer("<HOST><ID>0</ID><STATE>3</STATE><TEMPLATE><ERROR><![CDATA[Error executing\nvm/status: ENOENT]]></ERROR></TEMPLATE></HOST>"),
			want: []string{"wait until host 0 (one_exercise_host) is monitored: it is ERROR (Error executing vm/status: ENOENT) after 2s: look into monitor.log"},
		},
		"host in a state that is not known": {
			method: "one.host.info", answer: answer("<HOST><ID>0</ID><STATE>17</STATE></HOST>"), want: []string{"it is state 17 after 2s"},
		},
		"datastore that is not monitored": {
			method: "one.datastore.info", answer: answer("<DATASTORE><ID>0</ID><TOTAL_MB>0</TOTAL_MB></DATASTORE>"),
			want: []string{"wait until datastore 0 (one_exercise_images) is monitored: its size is 0 MB after 2s"},
		},
		"image in error": {
			method: "one.image.info", answer: answer("<IMAGE><ID>0</ID><STATE>5</STATE><TEMPLATE><ERROR>no room</ERROR></TEMPLATE></IMAGE>"), stays: true,
			want: []string{`wait until image 0 (one_exercise_image) is ready: it is ERROR, "no room"`},
		},
		"no room for an image": {
			method: "one.image.allocate", answer: refuse("Not enough space in datastore"),
			want: []string{"register the image one_exercise_image in datastore 0: ", "Not enough space"},
		},
		"scheduler finds no host": {
			method: "one.vm.info", answer: vm("1", "0", "<SCHED_MESSAGE><![CDATA[No hosts enabled to run VMs]]></SCHED_MESSAGE>", ""), stays: true,
			want: []string{`wait until virtual machine 0 (one_exercise_machine) runs: it is PENDING, and the scheduler says "No hosts enabled to run VMs" after 2s: look into oned.log`},
		},
		"machine that fails": {
			method: "one.vm.info", answer: vm("3", "36", "<ERROR><![CDATA[Error deploying]]></ERROR>", ""), stays: true,
			want: []string{"wait until virtual machine 0 (one_exercise_machine) runs: it is ACTIVE/BOOT_FAILURE (Error deploying)"},
		},
		"machine on another host": {
			method: "one.vm.info", answer: vm("3", "3", "", "<HISTORY_RECORDS><HISTORY><HID>9</HID></HISTORY></HISTORY_RECORDS>"), stays: true,
			want: []string{"on which host virtual machine 0", "not host 0"},
		},
		"OneGate refuses": {
			path: "GET /vm", serve: status(http.StatusUnauthorized, "Not authorized"), want: []string{"ask OneGate about virtual machine 0 as its guest", "401", "onegate.log"},
		},
		"OneGate answers about another machine": {
			path: "GET /vm", serve: status(http.StatusOK, `{"VM":{"ID":"7"}}`), want: []string{"ask OneGate about virtual machine 0", "does not describe it"},
		},
		"OneGate does not write": {
			path: "PUT /vm", serve: status(http.StatusOK, ""), want: []string{"the guest of virtual machine 0 has written", `it is "", not "ready"`},
		},
		"no showback": {
			method: "one.vmpool.showback", answer: answer("<SHOWBACK_RECORDS><SHOWBACK><VMID>7</VMID></SHOWBACK></SHOWBACK_RECORDS>"),
			want: []string{"look for virtual machine 0 in the showback", "1 others"},
		},
		"showback fails":    {method: "one.vmpool.calculateshowback", answer: refuse("Internal error"), want: []string{"calculate showback", "Internal error"}},
		"OneFlow is broken": {path: "POST /service_template", serve: status(http.StatusInternalServerError, "Internal server error"), want: []string{"in OneFlow", "500", "oneflow.log"}},
		"OneFlow answers nonsense": {
			path: "POST /service_template", serve: func(w http.ResponseWriter) { w.WriteHeader(http.StatusCreated) }, want: []string{"make the template one_exercise_service", "read the answer"},
		},
		"OneFlow answers with a path for a number": {
			path: "POST /service_template", serve: func(w http.ResponseWriter) {
				w.WriteHeader(http.StatusCreated)
				_, _ = w.Write([]byte(`{"DOCUMENT":{"ID":"../../etc"}}`))
			}, want: []string{`has the number "../../etc"`},
		},
		"service that fails": {
			path: "GET /service/0", stays: true, serve: status(http.StatusOK, `{"DOCUMENT":{"ID":"0","TEMPLATE":{"BODY":{"state":7,"log":[{"severity":"E","message":"Error instantiating"}]}}}}`),
			want: []string{`wait until service 0 (one_exercise_service) runs: it is FAILED_DEPLOYING, OneFlow says "Error instantiating": look into oneflow.log`},
		},
		"service that does not come": {
			path: "GET /service/0", stays: true,
			serve: status(http.StatusOK, `{"DOCUMENT":{"ID":"0","TEMPLATE":{"BODY":{"state":1,"roles":[{"nodes":[{"deploy_id":0}]}]}}}}`),
			want:  []string{"it is DEPLOYING, and of its virtual machine 0: it is ACTIVE/RUNNING after 2s"},
		},
		"hook that is not run": {
			method: "one.hook.info", answer: answer("<HOOK><ID>0</ID><HOOKLOG></HOOKLOG></HOOK>"),
			want: []string{"wait until the hook manager has run hook 0 (one_exercise_hook): there is no record of that", "onehem.log"},
		},
		"hook that fails": {
			method: "one.hook.info", answer: record("<COMMAND>/bin/true</COMMAND><STDERR>" + base64.StdEncoding.EncodeToString([]byte("no such\nfile")) + "</STDERR><CODE>127</CODE>"),
			want: []string{`"/bin/true" ended with status 127, "no such file"`},
		},
		"hook with half a record":     {method: "one.hook.info", answer: record("<COMMAND>/bin/true</COMMAND>"), want: []string{`"/bin/true" has no status`}},
		"machine that does not end":   {method: "one.vm.action", answer: refuse("Wrong state"), want: []string{"terminate virtual machine 0: ", "Wrong state"}},
		"datastore that stays":        {method: "one.datastore.delete", answer: refuse("Datastore is not empty."), stays: true, want: []string{"remove datastore 0 (one_exercise_images)"}},
		"pool that cannot be read":    {method: "one.hostpool.info", answer: answer("<HOST_POOL>"), want: []string{"look for a host that an exercise has left behind"}},
		"text of any length":          {method: "one.host.allocate", answer: refuse(strings.Repeat("long\n", 1<<16)), want: []string{"add the host", "..."}},
		"more than is read":           {path: "GET /service", serve: status(http.StatusOK, strings.Repeat("x", 17<<20)), want: []string{"has more than 16777216 bytes"}},
		"OneGate takes a wrong token": {path: "GET /vm", serve: status(http.StatusOK, `{"VM":{"ID":"0"}}`), want: []string{"with a wrong token", "200 OK", "do not let guests reach it"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := install(t)
			i.Limit = 2 * time.Second
			if c.method != "" {
				i.methods[c.method] = c.answer
			} else {
				i.paths[c.path] = c.serve
			}
			err := i.Run(t.Context(), func(string) {})
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want %q in it", err, want)
				}
			}
			if strings.Contains(err.Error(), "\n") || len(err.Error()) > 2000 {
				t.Errorf("error of %d bytes, want one short line: %q", len(err.Error()), err)
			}
			if left := i.left(); len(left) > 0 != c.stays {
				t.Errorf("left are %q; something stays: %t", left, c.stays)
			}
		})
	}
}

// TestServerThatIsSilent wants each call to have an end.
func TestServerThatIsSilent(t *testing.T) {
	i := install(t)
	i.Limit = 50 * time.Millisecond
	i.HTTP.Transport = silent{}
	begin := time.Now()
	if err := i.Login(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want that time is up", err)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
}

type silent struct{}

func (silent) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// TestSteps goes through the life of a virtual machine, as who keeps it over restarts does.
func TestSteps(t *testing.T) {
	i := install(t)
	first, err := i.Machine(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second, err := i.Machine(t.Context())
	if err != nil || second == first {
		t.Fatalf("machines %d and %d, %v, want two", first, second, err)
	}
	if err := i.Running(t.Context(), first); err != nil {
		t.Error(err)
	}
	if err := i.Terminate(t.Context(), first); err != nil {
		t.Error(err)
	}
	if err := i.Running(t.Context(), first); err == nil || !strings.Contains(err.Error(), "it is DONE") {
		t.Errorf("error %v, want that the machine is done", err)
	}
	for _, step := range []func(context.Context) error{i.Login, i.Service, i.Hook, func(ctx context.Context) error { return i.Token(ctx, second) }} {
		if err := step(t.Context()); err != nil {
			t.Error(err)
		}
	}
	want := []string{
		"datastore one_exercise_images", "datastore one_exercise_system", "host one_exercise_host", "image one_exercise_image", "vm one_exercise_machine",
	}
	if got := i.left(); !slices.Equal(got, want) {
		t.Errorf("there are %q, want %q", got, want)
	}
	for _, name := range want {
		if !strings.Contains(name, " "+exercise.Prefix) {
			t.Errorf("%s does not begin with %s", name, exercise.Prefix)
		}
	}
	if err := i.Clean(t.Context()); err != nil || len(i.left()) > 0 {
		t.Errorf("left are %q, %v", i.left(), err)
	}
}
