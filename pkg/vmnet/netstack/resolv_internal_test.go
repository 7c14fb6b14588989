package netstack

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestResolvers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	r := resolvers{path: file}
	now := time.Now()
	for i, c := range []struct {
		content, want string
	}{
		{"", "[127.0.0.1:53]"},
		{"nameserver 192.0.2.1\n", "[192.0.2.1:53]"},
		{"# more\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n", "[192.0.2.1:53 [fe80::1%eth0]:53 192.0.2.3:53]"},
		{"nameserver nonsense\noptions ndots:2\n", "[127.0.0.1:53]"},
	} {
		if c.content != "" {
			if err := os.WriteFile(file, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		now = now.Add(time.Minute)
		if got := fmt.Sprint(r.get(now)); got != c.want {
			t.Errorf("case %d: %s, want %s", i, got, c.want)
		}
		if got := fmt.Sprint(r.get(now)); got != c.want {
			t.Errorf("case %d again: %s, want %s", i, got, c.want)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(r.get(now.Add(time.Minute))); got != "[127.0.0.1:53]" {
		t.Errorf("without the file: %s", got)
	}
}
