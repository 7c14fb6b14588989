package packaging_test

import (
	"encoding/xml"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/packaging"
)

// TestPlists reads every property list as XML, and finds in launchd's jobs what they
// must have.
func TestPlists(t *testing.T) {
	n := 0
	err := fs.WalkDir(packaging.Files, ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".plist" {
			return err
		}
		n++
		data, err := packaging.Files.ReadFile(path)
		if err != nil {
			return err
		}
		for d := xml.NewDecoder(strings.NewReader(string(data))); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Errorf("%s: %v", path, err)
				break
			}
		}
		if filepath.Dir(path) != "launchd" {
			return nil
		}
		for _, key := range []string{"Label", "ProgramArguments", "RunAtLoad", "KeepAlive", "ProcessType", "ExitTimeOut"} {
			if strings.Count(string(data), "<key>"+key+"</key>") != 1 {
				t.Errorf("%s: no key %s", path, key)
			}
		}
		return nil
	})
	if err != nil || n < 3 {
		t.Errorf("%d property lists, %v", n, err)
	}
}

// TestSudoers has sudo's own program read the sample.
func TestSudoers(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), require.UnpackedTool(t, "sudo", "usr/sbin/visudo"), "-cf", "sudoers/vmnet-shim")
	// Its library is beside it where the package is only unpacked.
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+filepath.Join(require.Unpacked(t, "sudo"), "usr/libexec/sudo"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// TestScripts has a shell read the package's scripts.
func TestScripts(t *testing.T) {
	sh := require.Tool(t, "sh")
	for _, name := range []string{"postinst", "prerm", "postrm"} {
		if out, err := exec.CommandContext(t.Context(), sh, "-n", "debian/"+name).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}
