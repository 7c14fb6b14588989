package mutant

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

func add(c *call) (any, error) {
	if err := c.mayAdd(); err != nil {
		return nil, err
	}
	want, err := c.wanted()
	if err != nil {
		return nil, err
	}
	if !fault("A09") {
		if err := c.lock(); err != nil {
			return nil, err
		}
	}
	if old, ok := c.read(); ok && !fault("A05") && !fault("E09") {
		return nil, c.twice(old)
	}
	r := record{ID: c.id, IfName: c.ifname, NetNS: c.netns, MAC: macOf(c.key()), MTU: 1500, Conf: c.confHash(), At: time.Now()}
	if want.mac != "" {
		r.MAC = want.mac
	}
	var res ipamResult
	if c.delegates() != "" {
		if res, err = c.delegateAdd(); err != nil {
			return nil, c.delegateFailed(err)
		}
	} else if r.IP, err = c.allocate(want.ips); err != nil {
		return nil, err
	}
	c.faultyPauses()
	if r.Socket, err = c.socket(); err != nil {
		return nil, err
	}
	if err := c.write(r); err != nil {
		return nil, err
	}
	return c.result(r, res), nil
}

// mayAdd is for what stands against any ADD.
func (c *call) mayAdd() error {
	if _, err := os.Stat(c.file("unable")); err == nil {
		return failf(11, "the mutant was told to be unable")
	}
	if _, err := os.Stat(c.file("status-seen")); err != nil && fault("T02") {
		return failf(11, "STATUS first")
	}
	if fault("A07") {
		for _, i := range list(c.conf.PrevResult, "interfaces") {
			if i["conformance"] != nil {
				return failf(7, "prevResult.interfaces: unknown key")
			}
		}
	}
	if fault("A10") {
		f, err := os.OpenFile(c.file("one-"+hash(c.id)), os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return failf(11, "%s is busy in another network", c.id)
		}
		_ = f.Close()
	}
	return nil
}

func (c *call) twice(old record) error {
	switch {
	case fault("A05-break"):
		_ = drop(c.recordFile(), old, old.Socket)
	case fault("A12"):
		c.litter("twice")
	case fault("O06"):
		return failf(42, "%s/%s is there", c.id, c.ifname)
	case fault("O07"):
		return failf(999, "%s/%s is there", c.id, c.ifname)
	}
	return failf(100, "%s/%s is there", c.id, c.ifname)
}

func (c *call) delegateFailed(err error) error {
	if fault("A12-ipam") {
		c.litter("ipam")
	}
	return err
}

// faultyPauses widens windows, for faults that need one.
func (c *call) faultyPauses() {
	if fault("A09") {
		time.Sleep(200 * time.Millisecond)
	}
	if fault("E13") { // a reservation that only the record knows
		name := c.file(fmt.Sprintf("reservation-%d", os.Getpid()))
		_ = os.WriteFile(name, nil, 0o600)
		time.Sleep(300 * time.Millisecond)
		_ = os.Remove(name)
	}
	if fault("E12") {
		cmd := exec.Command(os.Args[0], "hold")
		cmd.Stdout = os.Stdout
		_ = cmd.Start()
	}
}

func del(c *call) (any, error) {
	if err := c.mayDel(); err != nil {
		return nil, err
	}
	if c.delEarly() {
		return nil, nil
	}
	if err := c.lock(); err != nil {
		return nil, err
	}
	first := func() error { return nil }
	if c.delegates() != "" && !fault("J07") {
		first = func() error { return c.delegateDel() }
	}
	then := c.drop
	// Faults that take the IPAM plugin before the device.
	missing := false
	if c.delegates() != "" {
		_, err := c.find(c.delegates())
		missing = err != nil
	}
	if fault("J09") && !missing || fault("D09") && missing {
		if err := first(); err != nil {
			return nil, err
		}
		return nil, then()
	}
	return nil, errors.Join(then(), first())
}

func (c *call) delegateDel() error {
	_, err := c.delegate("DEL")
	if fault("D08") {
		return nil
	}
	return err
}

// mayDel has the faults that make a DEL fail.
func (c *call) mayDel() error {
	r, has := c.read()
	_, noPath := os.Stat(c.netns)
	info, _ := os.Stat(c.netns)
	prev, _ := c.top["prevResult"].(map[string]any)
	_, deleted := os.Stat(c.file("deleted-" + c.key()))
	switch {
	case fault("D01") && deleted == nil, fault("D02") && !has:
		return failf(3, "%s/%s is unknown", c.id, c.ifname)
	case fault("D03") && hasPath(c.netns) && noPath != nil,
		fault("D06") && info != nil && hasPath(c.netns):
		return failf(4, "CNI_NETNS %s is no namespace", c.netns)
	case (fault("D05") || fault("L04")) && len(prev) == 0:
		return failf(7, "prevResult is missing")
	case fault("D05-garbage") && len(prev) > 0 && prev["cniVersion"] != c.version:
		return failf(6, "prevResult is garbage")
	case fault("L01") && len(list(prev, "interfaces")) > 2:
		return failf(7, "prevResult is not mine")
	case fault("L05") && has && r.Conf != c.confHash():
		return failf(7, "the configuration has changed")
	}
	return nil
}

// delEarly has the faults that make a DEL do nothing.
func (c *call) delEarly() bool {
	_, noPath := os.Stat(c.netns)
	prev, _ := c.top["prevResult"].(map[string]any)
	return fault("D03-leak") && hasPath(c.netns) && noPath != nil || fault("D04") && c.netns == "" || fault("L03") && len(prev) == 0
}

// drop removes the attachment.
func (c *call) drop() error {
	r, has := c.read()
	if has && fault("D01") {
		_ = os.WriteFile(c.file("deleted-"+c.key()), nil, 0o600)
	}
	if fault("D07") || fault("D07-net") {
		for file, o := range c.everywhere() {
			same := strings.HasPrefix(file, c.network()+"/") || fault("D07-net")
			if o.ID == c.id && same {
				_ = drop(file, o, o.Socket)
			}
		}
	}
	return drop(c.recordFile(), r, c.file("s-"+hash(c.network()+c.key())))
}

// everywhere returns the records of all networks.
func (c *call) everywhere() map[string]record { return records(c.file("net-*")) }

func status(c *call) (any, error) {
	_ = os.WriteFile(c.file("status-seen"), nil, 0o600)
	if !fault("T02") {
		_ = os.Remove(c.file("status-seen"))
	}
	if fault("T04") {
		time.Sleep(900 * time.Millisecond)
	}
	if fault("T04-write") {
		c.litter("status")
	}
	if fault("T01") {
		return nil, nil
	}
	if _, err := os.Stat(c.file("unable")); err == nil {
		return nil, failf(50, "the mutant was told to be unable")
	}
	if c.delegates() != "" {
		if fault("T03") {
			return nil, nil
		}
		_, err := c.delegate("STATUS")
		return nil, err
	}
	if _, err := c.allocate(nil); err != nil && !fault("T05") {
		return nil, failf(50, "%v", err)
	}
	return nil, nil
}

func gc(c *call) (any, error) {
	keep, err := c.validAttachments()
	if err != nil || keep == nil {
		return nil, err
	}
	if !fault("L02") {
		if err := c.lock(); err != nil {
			return nil, err
		}
	}
	if fault("G03") && c.delegates() != "" {
		if _, err := c.delegate("GC"); err != nil {
			return nil, err
		}
	}
	var errs []error
	all := records(c.network())
	if fault("G06") {
		all = c.everywhere()
	}
	for file, r := range all {
		if fault("G01") || !fault("G01-all") && slices.Contains(keep, r.ID+"/"+r.IfName) {
			continue
		}
		errs = append(errs, drop(file, r, r.Socket))
	}
	if c.delegates() != "" && !fault("G02") && !fault("G03") {
		_, err := c.delegate("GC")
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// validAttachments returns the list, or nil when there is nothing to do.
func (c *call) validAttachments() ([]string, error) {
	const key, legacy = "cni.dev/valid-attachments", "cni.dev/attachments"
	value, has := c.top[key]
	old, hasOld := c.top[legacy]
	switch {
	case has && hasOld && fault("G08"):
		return nil, failf(7, "%s and %s are both there", key, legacy)
	case !has && hasOld && !fault("G05-legacy"):
		value = old
	case !has && fault("G05"):
		return nil, nil
	case !has:
		return nil, failf(7, "%s is missing", key)
	case value == nil && fault("G05-null"):
		return nil, failf(7, "%s is null", key)
	}
	keep := []string{}
	for _, a := range list(map[string]any{"x": value}, "x") {
		keep = append(keep, fmt.Sprintf("%v/%v", a["containerID"], a["ifname"]))
	}
	if len(keep) == 0 && fault("G04") {
		return nil, nil
	}
	return keep, nil
}

// list returns the objects of a list in o.
func list(o map[string]any, key string) []map[string]any {
	values, _ := o[key].([]any)
	var all []map[string]any
	for _, v := range values {
		m, _ := v.(map[string]any)
		all = append(all, m)
	}
	return all
}
