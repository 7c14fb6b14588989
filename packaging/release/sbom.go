package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
)

// spdx is a document of SPDX 2.3, as far as it is used here.
type spdx struct {
	SPDXVersion       string         `json:"spdxVersion"`
	DataLicense       string         `json:"dataLicense"`
	ID                string         `json:"SPDXID"`
	Name              string         `json:"name"`
	DocumentNamespace string         `json:"documentNamespace"`
	CreationInfo      map[string]any `json:"creationInfo"`
	Packages          []spdxPackage  `json:"packages"`
	Relationships     []relationship `json:"relationships"`
}

type spdxPackage struct {
	ID               string        `json:"SPDXID"`
	Name             string        `json:"name"`
	VersionInfo      string        `json:"versionInfo"`
	DownloadLocation string        `json:"downloadLocation"`
	FilesAnalyzed    bool          `json:"filesAnalyzed"`
	LicenseConcluded string        `json:"licenseConcluded"`
	LicenseDeclared  string        `json:"licenseDeclared"`
	CopyrightText    string        `json:"copyrightText"`
	Checksums        []checksum    `json:"checksums,omitempty"`
	ExternalRefs     []externalRef `json:"externalRefs,omitempty"`
}

type checksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type externalRef struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type relationship struct {
	Element string `json:"spdxElementId"`
	Type    string `json:"relationshipType"`
	Related string `json:"relatedSpdxElement"`
}

// sbom lists what the linker put into the programs: what they say themselves
// ("go version -m"), so nothing more and nothing less.
func (r *release) sbom(archive string, b binaries) ([]byte, error) {
	modules := map[string]*debug.Module{}
	goVersion := ""
	for _, path := range []string{b.shim, b.plugin} {
		info, err := buildinfo.ReadFile(path)
		if err != nil {
			return nil, err
		}
		goVersion = info.GoVersion
		for _, m := range info.Deps {
			if m.Replace != nil {
				m = m.Replace
			}
			modules[m.Path] = m
		}
	}
	main := spdxPackage{
		ID: "SPDXRef-vmnet", Name: "vmnet", VersionInfo: r.version, DownloadLocation: "https://github.com/vmnet-cni/vmnet", LicenseConcluded: "Apache-2.0", LicenseDeclared: "Apache-2.0",
		CopyrightText: "NOASSERTION", Checksums: []checksum{{"SHA256", r.sums[archive]}},
	}
	doc := spdx{
		SPDXVersion: "SPDX-2.3", DataLicense: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: archive,
		DocumentNamespace: fmt.Sprintf("https://github.com/vmnet-cni/vmnet/spdx/%s/%x", archive, sha256.Sum256([]byte(r.sums[archive]))),
		CreationInfo:      map[string]any{"created": r.date.Format("2006-01-02T15:04:05Z"), "creators": []string{"Tool: vmnet-release"}},
		Packages:          []spdxPackage{main},
		Relationships:     []relationship{{"SPDXRef-DOCUMENT", "DESCRIBES", main.ID}},
	}
	doc.add(main.ID, &debug.Module{Path: "stdlib", Version: strings.TrimPrefix(goVersion, "go")})
	names := make([]string, 0, len(modules))
	for name := range modules {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		doc.add(main.ID, modules[name])
	}
	return json.MarshalIndent(doc, "", " ")
}

// add adds a module on which the package of, by its ID, depends.
func (d *spdx) add(of string, m *debug.Module) {
	p := spdxPackage{
		ID: "SPDXRef-" + strings.NewReplacer("/", "-", "_", "-", "~", "-").Replace(m.Path), Name: m.Path, VersionInfo: m.Version, DownloadLocation: "NOASSERTION",
		LicenseConcluded: "NOASSERTION", LicenseDeclared: "NOASSERTION", CopyrightText: "NOASSERTION",
		ExternalRefs: []externalRef{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + m.Path + "@" + m.Version}},
	}
	// go.sum's h1: is the SHA-256 of a list of the module's files.
	if sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.Sum, "h1:")); err == nil && len(sum) == sha256.Size {
		p.Checksums = []checksum{{"SHA256", hex.EncodeToString(sum)}}
	}
	d.Packages = append(d.Packages, p)
	d.Relationships = append(d.Relationships, relationship{of, "DEPENDS_ON", p.ID})
}
