package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// release is the ID of what the document describes.
const release = "SPDXRef-vmnet"

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

// newDocument describes the release in an archive of that name and checksum.
func newDocument(archive, version string, sum [sha256.Size]byte, date time.Time) *spdx {
	hexSum := hex.EncodeToString(sum[:])
	return &spdx{
		SPDXVersion: "SPDX-2.3", DataLicense: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: archive,
		DocumentNamespace: fmt.Sprintf("https://github.com/vmnet-cni/vmnet/spdx/%s/%s", archive, hexSum),
		CreationInfo:      map[string]any{"created": date.UTC().Format("2006-01-02T15:04:05Z"), "creators": []string{"Tool: vmnet-sbom"}},
		Packages: []spdxPackage{{
			ID: release, Name: "vmnet", VersionInfo: version, DownloadLocation: "https://github.com/vmnet-cni/vmnet", LicenseConcluded: "Apache-2.0", LicenseDeclared: "Apache-2.0",
			CopyrightText: "NOASSERTION", Checksums: []checksum{{"SHA256", hexSum}},
		}},
		Relationships: []relationship{{"SPDXRef-DOCUMENT", "DESCRIBES", release}},
	}
}

// modules adds what the programs are made of, each module once, sorted.
func (d *spdx) modules(programs []*buildinfo.BuildInfo) {
	modules := map[string]*debug.Module{}
	for _, info := range programs {
		modules["stdlib"] = &debug.Module{Path: "stdlib", Version: strings.TrimPrefix(info.GoVersion, "go")}
		for _, m := range info.Deps {
			if m.Replace != nil {
				m = m.Replace
			}
			modules[m.Path] = m
		}
	}
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		d.add(release, modules[name])
	}
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
