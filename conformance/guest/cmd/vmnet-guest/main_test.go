package main

import (
	"strings"
	"testing"
)

func TestBadFlags(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"-mac nonsense", `-mac "nonsense"`},
		{"-output xml", `-output "xml"`},
		{"-kind tap", `-kind "tap"`},
		{"-mtu 9", "-mtu 9: want 1280"},
		{"word", `argument "word"`},
		{"-mac 02:00:00:00:00:01 -fd 99", "fd 99"},
		{"-mac 02:00:00:00:00:01 -socket /none/s", "/none/s"},
		{"-mac 02:00:00:00:00:01 -socket /none/s -kind stream", "/none/s"},
	} {
		if err := run(strings.Fields(c.args)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q in it", c.args, err, c.want)
		}
	}
}
