package standin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (d *daemon) showbackMethods() map[string]method {
	return map[string]method{
		"one.vmpool.calculateshowback": {d.calculateShowback, false},
		"one.vmpool.showback":          {d.showback, true},
	}
}

// historyBody is a record of a machine's history as the database has it: with what costs depend on.
func historyBody(vm, record *node) *node {
	described := elem("VM", vm.at("ID"), vm.at("UID"), vm.at("GID"), vm.at("UNAME"), vm.at("GNAME"), vm.at("NAME"), vm.at("TEMPLATE"))
	return elem("HISTORY", append(slices.Clone(record.children), described)...)
}

// costs are what a machine has cost in a month.
type costs struct{ cpu, memory, disk, hours, running float64 }

// calculateShowback writes what all machines have cost in each month between two, given by month and year; -1 is any.
func (d *daemon) calculateShowback(_ *database, caller *user, params []value) (value, *rpcError) {
	if caller.GID != oneadminGroup {
		return value{}, failure(codeAuthorization, fmt.Sprintf("User [%d] : Action reserved for group 0 only.", caller.ID))
	}
	first, last, failed := months(params)
	if failed != nil {
		return value{}, failed
	}
	history, err := d.server.documents("SELECT HEX(body) FROM history ORDER BY vid, seq;")
	if err != nil {
		return value{}, failure(codeInternal, err.Error())
	}
	type slot struct{ vm, month int }
	sums, machines := map[slot]costs{}, map[int]*node{}
	now := d.host.Now()
	for _, record := range history {
		id := record.number("OID")
		machines[id] = record.at("VM")
		for m := monthOf(time.Unix(int64(record.number("STIME")), 0)); m <= monthOf(now); m++ {
			if m >= first && (last < 0 || m <= last) {
				sums[slot{id, m}] = sums[slot{id, m}].plus(record, m, now)
			}
		}
	}
	var statements []string
	for at, sum := range sums {
		vm, year, month := machines[at.vm], at.month/12, at.month%12+1
		body := elem("SHOWBACK", leaves("VMID", at.vm, "VMNAME", vm.get("NAME"), "UID", vm.get("UID"), "GID", vm.get("GID"), "UNAME", vm.get("UNAME"),
			"GNAME", vm.get("GNAME"), "YEAR", year, "MONTH", month, "CPU_COST", amount(sum.cpu), "MEMORY_COST", amount(sum.memory),
			"DISK_COST", amount(sum.disk), "TOTAL_COST", amount(sum.cpu+sum.memory+sum.disk), "HOURS", amount(sum.hours),
			"RHOURS", amount(sum.running))...)
		statements = append(statements, fmt.Sprintf("REPLACE INTO vm_showback VALUES (%d, %d, %d, %s)", at.vm, year, month, d.server.literal(body.String())))
	}
	if len(statements) > 0 {
		if err := d.exec(statements...); err != nil {
			return value{}, failure(codeInternal, err.Error())
		}
	}
	return stringValue(""), nil
}

func amount(n float64) string { return strconv.FormatFloat(n, 'f', -1, 32) }

// monthOf counts months.
func monthOf(t time.Time) int { return t.Year()*12 + int(t.Month()) - 1 }

// months reads the first and the last month among the parameters of a call; -1 is none.
func months(params []value) (first, last int, failed *rpcError) {
	numbers := make([]int, 4)
	for i := range numbers {
		if numbers[i], failed = intParameter(params, i); failed != nil {
			return 0, 0, failed
		}
	}
	count := func(month, year int) int {
		if month < 0 || year < 0 {
			return -1
		}
		return year*12 + month - 1
	}
	return count(numbers[0], numbers[1]), count(numbers[2], numbers[3]), nil
}

// plus adds what a record of a machine's history costs in a month.
func (c costs) plus(record *node, month int, now time.Time) costs {
	begin, next := time.Date(month/12, time.Month(month%12+1), 1, 0, 0, 0, 0, now.Location()), now
	if end := begin.AddDate(0, 1, 0); end.Before(next) {
		next = end
	}
	hours := func(from, to string) float64 {
		start, end := time.Unix(int64(record.number(from)), 0), next
		if record.number(from) == 0 {
			return 0
		}
		if to := record.number(to); to != 0 && time.Unix(int64(to), 0).Before(end) {
			end = time.Unix(int64(to), 0)
		}
		if start.Before(begin) {
			start = begin
		}
		return max(0, end.Sub(start).Hours())
	}
	number := func(name string) float64 {
		n, _ := strconv.ParseFloat(record.get("VM/TEMPLATE/"+name), 64)
		return n
	}
	disk := 0.0
	for _, d := range record.at("VM/TEMPLATE").all("DISK") {
		disk += float64(d.number("SIZE"))
	}
	total := hours("STIME", "ETIME")
	return costs{
		c.cpu + number("CPU_COST")*number("CPU")*total, c.memory + number("MEMORY_COST")*number("MEMORY")*total,
		c.disk + number("DISK_COST")*disk*total, c.hours + total, c.running + hours("RSTIME", "RETIME"),
	}
}

// showback answers with what was calculated: of whose machines, and between which months.
func (d *daemon) showback(_ *database, caller *user, params []value) (value, *rpcError) {
	filter, failed := intParameter(params, 0)
	if failed != nil {
		return value{}, failed
	}
	first, last, failed := months(params[1:])
	if failed != nil {
		return value{}, failed
	}
	where := poolFilter(&kind{}, caller, []int{filter, -1, -1, -1})
	if caller.GID != oneadminGroup && filter == -2 {
		where = poolFilter(&kind{}, caller, []int{-1, -1, -1, -1})
	}
	if first >= 0 {
		where += fmt.Sprintf(" AND year * 12 + month - 1 >= %d", first)
	}
	if last >= 0 {
		where += fmt.Sprintf(" AND year * 12 + month - 1 <= %d", last)
	}
	found, err := d.server.documents("SELECT HEX(vm_showback.body) FROM vm_showback INNER JOIN vm_pool ON vmid = oid WHERE " + where + " ORDER BY year, month, vmid;")
	if err != nil {
		return value{}, failure(codeInternal, err.Error())
	}
	return stringValue(elem("SHOWBACK_RECORDS", found...).String()), nil
}

// oneshowback is the command line tool for costs.
func (h Host) oneshowback(ctx context.Context, args []string) error {
	if strings.Join(args, " ") != "calculate" {
		return errors.New("usage: oneshowback calculate")
	}
	all := intValue(-1)
	answer, err := h.callAsUser(ctx, "one.vmpool.calculateshowback", all, all, all, all)
	if err == nil {
		h.printf("%s\n", answer)
	}
	return err
}
