package startup

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"opennebula-kube/image/internal/host"
)

// sharedKeys writes the keys that a front-end alone makes for itself.
func (s *Start) sharedKeys(context.Context) error {
	if !s.settings.HA.Enabled() {
		return nil
	}
	const oneKey, fireedgeKey = authDir + "/one_key", authDir + "/fireedge_key"
	secrets := s.settings.HA.Secrets
	has, err := s.host.ReadFile(oneKey)
	if err != nil {
		return err
	}
	if key := strings.TrimSpace(string(has)); key != "" && key != secrets.OneKey {
		return fmt.Errorf("%s has another key than OPENNEBULA_HA_ONE_KEY, and what is encrypted in the database can be read with that only: "+
			"give all front-ends the key in this file", oneKey)
	}
	return errors.Join(
		s.host.WriteFile(oneKey, []byte(secrets.OneKey+"\n"), 0o600, host.Oneadmin()),
		s.host.WriteFile(fireedgeKey, []byte(secrets.FireEdgeKey), 0o600, host.Oneadmin()),
	)
}
