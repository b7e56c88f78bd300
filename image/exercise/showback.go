package exercise

import (
	"context"
	"fmt"
	"slices"

	"opennebula-kube/image/internal/xmlrpc"
)

// Showback has oned calculate what all virtual machines have used, and looks for one that has run.
func (t Target) Showback(ctx context.Context, machine int) error {
	unlimited := xmlrpc.Number(-1)
	if _, err := t.call(ctx, "one.vmpool.calculateshowback", unlimited, unlimited, unlimited, unlimited); err != nil {
		return fmt.Errorf("calculate showback: %w; look into oned.log for the reason", err)
	}
	var records struct {
		Machines []int `xml:"SHOWBACK>VMID"`
	}
	if err := t.document(ctx, &records, "one.vmpool.showback", xmlrpc.Number(-2), unlimited, unlimited, unlimited, unlimited); err != nil {
		return fmt.Errorf("ask for the showback that was calculated: %w; look into oned.log for the reason", err)
	}
	if !slices.Contains(records.Machines, machine) {
		return fmt.Errorf("look for virtual machine %d in the showback that was calculated: %d others are there: look into oned.log for errors of the database",
			machine, len(records.Machines))
	}
	return nil
}
