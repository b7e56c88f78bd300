package gate

import (
	"strings"
	"testing"
	"time"
)

func TestParsePolicy(t *testing.T) {
	policy, err := ParsePolicy([]string{"CRITICAL", "HIGH"}, true, time.Hour, "exceptions.yaml", []byte("exceptions: []\n"))
	if err != nil || len(policy.Threshold) != 2 || !policy.IgnoreUnfixed || policy.MaxDatabaseAge != time.Hour {
		t.Errorf("%+v, %v", policy, err)
	}
	for name, test := range map[string]struct {
		severities []string
		age        time.Duration
		exceptions string
		want       string
	}{
		"unknown severity": {[]string{"AWFUL"}, time.Hour, "", "--severity"},
		"no severity":      {nil, time.Hour, "exceptions: []\n", "no severity"},
		"no age":           {[]string{"HIGH"}, 0, "exceptions: []\n", "more than 0"},
		"bad exceptions":   {[]string{"HIGH"}, time.Hour, "exceptions:\n  - id: CVE-2026-1\n", "exceptions.yaml:2"},
	} {
		if _, err := ParsePolicy(test.severities, false, test.age, "exceptions.yaml", []byte(test.exceptions)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, test.want)
		}
	}
}
