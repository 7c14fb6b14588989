package shim

import (
	"errors"
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	long := strings.Repeat("a", 256)
	tests := []struct {
		name  string
		check func(string) error
		good  []string
		bad   []string
	}{
		{"network", CheckNetwork, []string{"shared", "A", "0-9_.x", long[:255]}, []string{"", "-a", ".a", "a/b", "a b", "é", "../x", "a\x00", long}},
		{"containerID", CheckContainerID, []string{"c", "default-" + long[:64]}, []string{"", "_a", "a:b", long}},
		{"ifname", CheckIfName, []string{"eth0", "a%b", "é", "123456789012345"}, []string{"", ".", "..", "a/b", "a:b", "a b", "1234567890123456", "a\tb", "a\x00", "\xff"}},
	}
	for _, tt := range tests {
		for _, s := range tt.good {
			if err := tt.check(s); err != nil {
				t.Errorf("%s %q: %v, want no error", tt.name, s, err)
			}
		}
		for _, s := range tt.bad {
			var e *Error
			if err := tt.check(s); !errors.As(err, &e) || e.Code != CodeInvalid || e.Key != tt.name {
				t.Errorf("%s %q: %v, want invalid_argument for that key", tt.name, s, err)
			}
		}
	}
}
